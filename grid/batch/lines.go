package batch

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

// line is one line of a file, without its end.
type line struct {
	number int // from 1, blank ones counted
	offset int64
	length int    // also of one that is too long
	text   []byte // valid until the next line; nil when it is too long
	whole  bool   // it ends in a line feed
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// lines yields the lines of a file that are not blank. At most most bytes of
// one are held. The last error is what the reader failed with.
func lines(r io.Reader, most int) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		buffer := make([]byte, 0, 64<<10)
		for l := (line{}); ; {
			var err error
			l.number++
			buffer, err = l.read(in, buffer[:0], most)
			if err != nil && !errors.Is(err, io.EOF) {
				yield(l, err)
				return
			}
			end := l.offset + int64(l.length)
			if l.whole {
				end++
			}
			if l.offset == 0 && bytes.HasPrefix(l.text, byteOrderMark) {
				l.text, l.offset, l.length = l.text[len(byteOrderMark):], int64(len(byteOrderMark)), l.length-len(byteOrderMark)
			}
			blank := l.text != nil && len(bytes.TrimSpace(l.text)) == 0
			if !blank && l.length > 0 && !yield(l, nil) || err != nil {
				return
			}
			l = line{number: l.number, offset: end}
		}
	}
}

// read takes one line in. The error is io.EOF after the last.
func (l *line) read(in *bufio.Reader, buffer []byte, most int) ([]byte, error) {
	for {
		part, err := in.ReadSlice('\n')
		l.length += len(part)
		if err == nil {
			l.length--
			part, l.whole = part[:len(part)-1], true
		}
		if l.length <= most {
			buffer = append(buffer, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if l.length <= most {
			l.text = buffer
		}
		return buffer, err
	}
}
