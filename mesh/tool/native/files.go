package native

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"lobstah/internal/durable"
	"lobstah/mesh/tool"
)

// Limits of files.
const (
	maxFile    = 4 << 20 // bytes that are edited, or read as a whole
	maxEntries = 1000    // of a folder, unless asked for less
	binaryHint = 8 << 10 // bytes that are looked at to tell text from binary
)

// locate finds the root of a path and makes the folder of the node itself when it
// is the one that is granted.
func (t *Tools) locate(grant tool.Grant, path string) (root, rel string, err error) {
	root, rel, err = grant.Locate(path)
	if err == nil && root == t.cfg.Work {
		err = os.MkdirAll(root, 0o700)
	}
	return root, rel, err
}

// beneath opens the root of a path and does something with it and the path in it.
func (t *Tools) beneath(grant tool.Grant, path string, do func(root *os.Root, rel string) error) error {
	dir, rel, err := t.locate(grant, path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fileError(dir, err)
	}
	defer root.Close()
	return do(root, rel)
}

// fileError says what is wrong with a path. That a link leads out of the root is
// told as what it is.
func fileError(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return tool.Errorf(tool.CodeArguments, "%s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return tool.Errorf(tool.CodePath, "%s may not be opened by the user of this node", path)
	case strings.Contains(err.Error(), "escapes"):
		return tool.Errorf(tool.CodePath, "%s leads out of the folders that are granted to you here, by a symbolic link", path)
	}
	if _, ok := errors.AsType[*tool.Error](err); ok {
		return err
	}
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		err = pathError.Err
	}
	return tool.Errorf(tool.CodeFailed, "%s: %s", path, err)
}

// openRegular opens a regular file to read. Pipes, devices and folders are not.
func openRegular(root *os.Root, rel string) (*os.File, fs.FileInfo, error) {
	file, err := root.OpenFile(rel, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, nil, fileError(rel, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = tool.Errorf(tool.CodeArguments, "%s is no regular file", rel)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

type readArgs struct {
	Path     string `json:"path"`
	Offset   int    `json:"offset,omitempty"`
	Limit    int    `json:"limit,omitempty"`
	Encoding string `json:"encoding,omitempty"`
}

func (t *Tools) read(ctx context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	var args readArgs
	if err := tool.ReadArgs(call.Args, &args); err != nil {
		return nil, err
	}
	var result *tool.Result
	err := t.beneath(call.Grant, args.Path, func(root *os.Root, rel string) error {
		file, info, err := openRegular(root, rel)
		if err != nil {
			return err
		}
		defer file.Close()
		result, err = readFile(ctx, file, info, args, call.Grant.MaxOutput)
		return err
	})
	return result, err
}

func readFile(ctx context.Context, file *os.File, info fs.FileInfo, args readArgs, limit int) (*tool.Result, error) {
	in := bufio.NewReaderSize(file, 64<<10)
	start, err := in.Peek(binaryHint)
	if err != nil && err != io.EOF {
		return nil, fileError(args.Path, err)
	}
	mime := http.DetectContentType(start)
	switch image := strings.HasPrefix(mime, "image/"); {
	case args.Encoding == "base64":
		return readBytes(in, info, tool.Part{Type: "text"}, limit)
	case args.Encoding != "" && args.Encoding != "utf-8":
		return nil, tool.Errorf(tool.CodeArguments, "encoding is utf-8 or base64, not %q", args.Encoding)
	case args.Offset < 0 || args.Limit < 0:
		return nil, tool.Errorf(tool.CodeArguments, "offset and limit begin at 1")
	case image && !utf8.Valid(start):
		return readBytes(in, info, tool.Part{Type: "image", MIMEType: mime}, limit)
	case binary(start):
		return nil, tool.Errorf(tool.CodeArguments, `%s is no UTF-8 text (%s): ask for it with "encoding":"base64"`, args.Path, mime)
	}
	return readLines(ctx, in, args, limit)
}

// binary reports whether the beginning of a file is no UTF-8 text.
func binary(start []byte) bool {
	if len(start) == binaryHint { // the last character may be cut
		for range utf8.UTFMax {
			if r, n := utf8.DecodeLastRune(start); r != utf8.RuneError || n != 1 {
				break
			}
			start = start[:len(start)-1]
		}
	}
	return bytes.IndexByte(start, 0) >= 0 || !utf8.Valid(start)
}

// readBytes returns a whole file as base64: an image in Data, others as text.
func readBytes(in io.Reader, info fs.FileInfo, part tool.Part, limit int) (*tool.Result, error) {
	most := int64(base64.StdEncoding.DecodedLen(limit))
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fileError(info.Name(), err)
	}
	if int64(len(data)) > most {
		return nil, tool.Errorf(tool.CodeArguments, "%s has %d bytes; at most %d are passed on as base64", info.Name(), info.Size(), most)
	}
	text := base64.StdEncoding.EncodeToString(data)
	kind := "image"
	if part.Type == "text" {
		part.Text, kind = text, "base64"
	} else {
		part.Data = text
	}
	r, err := tool.Text("", map[string]any{"kind": kind, "bytes": len(data)})
	if err == nil {
		r.Content = []tool.Part{part}
	}
	return r, err
}

// readLines returns lines from offset on, as many as fit.
func readLines(ctx context.Context, in *bufio.Reader, args readArgs, limit int) (*tool.Result, error) {
	var out strings.Builder
	offset := max(args.Offset, 1)
	details := map[string]any{"kind": "text"}
	n, full := 1, false
	for ; ; n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		wanted := n >= offset && (args.Limit == 0 || n < offset+args.Limit)
		line, long, err := readLine(in, limit, wanted)
		if err == io.EOF && line == "" {
			break
		}
		if err != nil && err != io.EOF {
			return nil, fileError(args.Path, err)
		}
		if n >= offset && !wanted {
			details["nextOffset"] = n
			break
		}
		if wanted && out.Len()+len(line) > limit || long {
			full = true
			break
		}
		if wanted {
			out.WriteString(line)
		}
	}
	if offset > n && offset > 1 {
		return nil, tool.Errorf(tool.CodeArguments, "%s has %d lines; offset is %d", args.Path, n-1, offset)
	}
	if full {
		return readFull(&out, details, n, offset, limit)
	}
	if !utf8.ValidString(out.String()) {
		details["note"] = "bytes that are no UTF-8 were replaced"
	}
	return tool.Text(strings.ToValidUTF8(out.String(), "\uFFFD"), details)
}

func readFull(out *strings.Builder, details map[string]any, n, offset, limit int) (*tool.Result, error) {
	if out.Len() == 0 {
		return nil, tool.Errorf(tool.CodeArguments, `line %d alone is larger than %d bytes: ask for the file with "encoding":"base64", or cut it with exec`, offset, limit)
	}
	details["nextOffset"] = n
	fmt.Fprintf(out, "[more follows: read on with offset %d]\n", n)
	return tool.Text(strings.ToValidUTF8(out.String(), "\uFFFD"), details)
}

// readLine reads one line with its end. Of one that is not kept it returns a part,
// of one that is too long the first limit bytes and long.
func readLine(in *bufio.Reader, limit int, keep bool) (line string, long bool, err error) {
	var all []byte
	for {
		piece, err := in.ReadSlice('\n')
		if keep || len(all) == 0 {
			all = append(all, piece...)
		}
		if keep && len(all) > limit {
			return string(all[:limit]), true, nil
		}
		if err != bufio.ErrBufferFull {
			return string(all), false, err
		}
	}
}

type writeArgs struct {
	Path     string  `json:"path"`
	Content  *string `json:"content"`
	Encoding string  `json:"encoding,omitempty"`
}

func (t *Tools) write(_ context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	var args writeArgs
	if err := tool.ReadArgs(call.Args, &args); err != nil {
		return nil, err
	}
	if args.Content == nil {
		return nil, tool.Errorf(tool.CodeArguments, "write wants content")
	}
	data, err := decode(*args.Content, args.Encoding)
	if err != nil {
		return nil, err
	}
	created := false
	err = t.beneath(call.Grant, args.Path, func(root *os.Root, rel string) error {
		t.writing.Lock()
		defer t.writing.Unlock()
		perm, isNew, err := replaceable(root, rel)
		if err != nil {
			return err
		}
		created = isNew
		if err := root.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
			return fileError(filepath.Dir(rel), err)
		}
		return fileError(rel, durable.WriteIn(root, rel, data, perm))
	})
	if err != nil {
		return nil, err
	}
	return tool.Text(fmt.Sprintf("wrote %d bytes to %s", len(data), args.Path), map[string]any{"changed": true, "created": created, "bytes": len(data)})
}

func decode(content, encoding string) ([]byte, error) {
	switch encoding {
	case "", "utf-8":
		return []byte(content), nil
	case "base64":
		data, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			return nil, tool.Errorf(tool.CodeArguments, "content is no base64: %s", err)
		}
		return data, nil
	}
	return nil, tool.Errorf(tool.CodeArguments, "encoding is utf-8 or base64, not %q", encoding)
}

// replaceable tells the permissions that a file keeps, or gets when it is new.
// A symbolic link would be replaced by a file, so it is refused.
func replaceable(root *os.Root, rel string) (perm fs.FileMode, created bool, err error) {
	info, err := root.Lstat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0o644, true, nil
	case err != nil:
		return 0, false, fileError(rel, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return 0, false, tool.Errorf(tool.CodePath, "%s is a symbolic link: name the file that it points to", rel)
	case !info.Mode().IsRegular():
		return 0, false, tool.Errorf(tool.CodeArguments, "%s is no regular file", rel)
	case info.Mode().Perm()&0o222 == 0:
		return 0, false, tool.Errorf(tool.CodePath, "%s is read-only", rel)
	}
	return info.Mode().Perm(), false, nil
}

type listArgs struct {
	Path  string `json:"path,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

type listed struct {
	Name    string    `json:"name"`
	Type    string    `json:"type"` // file, folder, link, other
	Bytes   int64     `json:"bytes,omitempty"`
	Changed time.Time `json:"changed"`
}

func (t *Tools) list(_ context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	var args listArgs
	if err := tool.ReadArgs(call.Args, &args); err != nil {
		return nil, err
	}
	if args.Limit < 0 || args.Limit > maxEntries {
		return nil, tool.Errorf(tool.CodeArguments, "limit is %d; it may be 1 to %d", args.Limit, maxEntries)
	}
	if args.Limit == 0 {
		args.Limit = maxEntries
	}
	if args.Path == "" {
		args.Path = "."
	}
	var entries []listed
	more := false
	err := t.beneath(call.Grant, args.Path, func(root *os.Root, rel string) (err error) {
		entries, more, err = listFolder(root, rel, args.Limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&text, "%s\n", e.Name+map[string]string{"folder": "/", "link": "@"}[e.Type])
	}
	if more {
		text.WriteString("[there are more]\n")
	}
	return tool.Text(text.String(), map[string]any{"entries": entries, "more": more})
}
