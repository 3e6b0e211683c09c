package native

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"lobstah/mesh/tool"
)

const binaryHint = 8 << 10 // bytes that are looked at to tell text from binary

type readArgs struct {
	Path     string `json:"path"`
	Offset   int    `json:"offset,omitempty"`
	Limit    int    `json:"limit,omitempty"`
	Encoding string `json:"encoding,omitempty"`
	Start    *int64 `json:"start,omitempty"` // with base64: a part from this byte on
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
		if args.Start != nil {
			result, err = readPart(file, info, args, call.Grant.MaxOutput)
		} else {
			result, err = readFile(ctx, file, info, args, call.Grant.MaxOutput)
		}
		return err
	})
	return result, err
}

func readFile(ctx context.Context, file *os.File, info fs.FileInfo, args readArgs, limit int) (*tool.Result, error) {
	in := bufio.NewReaderSize(while{ctx, file}, 64<<10)
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
	return readLines(in, args, limit)
}

// while reads as long as its context lasts: a file may be larger than a caller's
// patience.
type while struct {
	ctx context.Context
	in  io.Reader
}

func (w while) Read(p []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.in.Read(p)
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
		return nil, tool.Errorf(tool.CodeArguments, `%s has %d bytes; at most %d are passed on as base64 at once: ask for its parts with "start"`, info.Name(), info.Size(), most)
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

// readPart returns as many bytes as fit, as base64. Details tell where the next
// part begins, and by size and time of the last change whether all are of one file.
func readPart(file *os.File, info fs.FileInfo, args readArgs, limit int) (*tool.Result, error) {
	start := *args.Start
	if args.Encoding != "base64" || args.Offset != 0 || args.Limit != 0 {
		return nil, tool.Errorf(tool.CodeArguments, `start counts bytes: it wants "encoding":"base64", and neither offset nor limit`)
	}
	if start < 0 || start > info.Size() {
		return nil, tool.Errorf(tool.CodeArguments, "%s has %d bytes; start is %d", args.Path, info.Size(), start)
	}
	data := make([]byte, min(int64(base64.StdEncoding.DecodedLen(limit)), info.Size()-start))
	n, err := file.ReadAt(data, start)
	if err != nil && err != io.EOF { // one that shrank meanwhile
		return nil, fileError(args.Path, err)
	}
	details := map[string]any{"kind": "base64", "bytes": n, "size": info.Size(), "modified": info.ModTime().UTC().Format(time.RFC3339Nano)}
	if next := start + int64(n); next < info.Size() && n > 0 {
		details["nextStart"] = next
	}
	return tool.Text(base64.StdEncoding.EncodeToString(data[:n]), details)
}

// readLines returns lines from offset on, as many as fit.
func readLines(in *bufio.Reader, args readArgs, limit int) (*tool.Result, error) {
	var out strings.Builder
	offset := max(args.Offset, 1)
	details := map[string]any{"kind": "text"}
	n, full := 1, false
	for ; ; n++ {
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
