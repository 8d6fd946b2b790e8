package load

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
)

// form is that of a file of requests of one kind: a line of JSON each, or CSV with
// a header that names its columns.
type form[T any] struct {
	what    string // one of them
	needed  string // a column
	others  string // the columns that may be there too
	columns map[string]func(t *T, text string)
}

const maxLine = 1 << 20

// messages yields what each request of a file is made to. An error names the line.
func (f *form[T]) messages(file io.Reader, message func(whole []byte, t T, n int) (Message, error)) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		in := bufio.NewReaderSize(file, 64<<10)
		if bom, err := in.Peek(3); err == nil && string(bom) == "\ufeff" {
			_, _ = in.Discard(3)
		}
		read := f.csv
		if first, err := in.Peek(1); err == nil && first[0] == '{' {
			read = f.lines
		}
		n := 0
		read(in, func(line int, whole []byte, t T, err error) bool {
			if err != nil {
				return yield(Message{}, fmt.Errorf("line %d: %w", line, err))
			}
			m, err := message(whole, t, n)
			n++
			if err != nil {
				err = fmt.Errorf("line %d: %w", line, err)
			}
			return yield(m, err)
		})
	}
}

func (f *form[T]) lines(in *bufio.Reader, yield func(int, []byte, T, error) bool) {
	var none T
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 64<<10), maxLine)
	n := 0
	for s.Scan() {
		n++
		text := slices.Clone(s.Bytes())
		if strings.TrimSpace(string(text)) == "" {
			continue
		}
		var t T
		err := json.Unmarshal(text, &t)
		if err != nil {
			err = errors.New("not the JSON of " + f.what)
		}
		if !yield(n, text, t, err) {
			return
		}
	}
	if err := s.Err(); err != nil {
		yield(n+1, nil, none, err)
	}
}

func (f *form[T]) csv(in *bufio.Reader, yield func(int, []byte, T, error) bool) {
	var none T
	r := csv.NewReader(in)
	if head, err := in.Peek(512); len(head) > 0 && (err == nil || errors.Is(err, io.EOF)) {
		if line, _, _ := strings.Cut(string(head), "\n"); strings.Count(line, ";") > strings.Count(line, ",") {
			r.Comma = ';'
		}
	}
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return
	}
	if err == nil && !slices.Contains(header, f.needed) {
		err = fmt.Errorf("the header must name %s, and may name %s", f.needed, f.others)
	}
	if err != nil {
		yield(1, nil, none, err)
		return
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		line, _ := r.FieldPos(0)
		var t T
		for i := range min(len(row), len(header)) {
			if set := f.columns[header[i]]; set != nil {
				set(&t, row[i])
			}
		}
		if !yield(line, nil, t, err) || err != nil {
			return
		}
	}
}
