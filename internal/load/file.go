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
	"time"
)

// File is requests in a file: a line of JSON each (the data of code.requested),
// or CSV with a header that names its fields.
type File struct {
	In   io.Reader
	Pool string // of requests that name none
	Key  KeyRule
	IDs  IDs // for requests that have none
}

// fields of a request in a file
type fields struct {
	RequestID  string          `json:"request_id"`
	PoolID     string          `json:"pool_id"`
	CustomerID string          `json:"customer_id"`
	ExpiresAt  string          `json:"expires_at,omitempty"`
	Context    json.RawMessage `json:"context,omitempty"`
}

const maxLine = 1 << 20

// Messages yields the requests. An error names the line.
func (f *File) Messages() iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		in := bufio.NewReaderSize(f.In, 64<<10)
		if bom, err := in.Peek(3); err == nil && string(bom) == "\ufeff" {
			_, _ = in.Discard(3)
		}
		read := f.csv
		if first, err := in.Peek(1); err == nil && first[0] == '{' {
			read = f.lines
		}
		n := 0
		read(in, func(line int, whole []byte, r fields, err error) bool {
			if err != nil {
				return yield(Message{}, fmt.Errorf("line %d: %w", line, err))
			}
			m, err := f.message(whole, r, n)
			n++
			if err != nil {
				err = fmt.Errorf("line %d: %w", line, err)
			}
			return yield(m, err)
		})
	}
}

// message completes a request. One that is complete is published as it stands.
func (f *File) message(whole []byte, r fields, n int) (Message, error) {
	if r.RequestID == "" || r.PoolID == "" {
		whole = nil
	}
	if r.RequestID == "" {
		r.RequestID = f.IDs.At(n, time.Now())
	}
	if r.PoolID == "" {
		r.PoolID = f.Pool
	}
	if r.PoolID == "" || r.CustomerID == "" {
		return Message{}, errors.New("pool_id or customer_id is missing")
	}
	if whole == nil {
		var err error
		if whole, err = json.Marshal(r); err != nil {
			return Message{}, errors.New("context is not JSON")
		}
	}
	return Message{PoolID: r.PoolID, RequestID: r.RequestID, Key: f.Key(r.CustomerID, r.RequestID), Value: whole}, nil
}

func (f *File) lines(in *bufio.Reader, yield func(int, []byte, fields, error) bool) {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 64<<10), maxLine)
	n := 0
	for s.Scan() {
		n++
		text := slices.Clone(s.Bytes())
		if strings.TrimSpace(string(text)) == "" {
			continue
		}
		var r fields
		err := json.Unmarshal(text, &r)
		if err != nil {
			err = errors.New("not the JSON of a code request")
		}
		if !yield(n, text, r, err) {
			return
		}
	}
	if err := s.Err(); err != nil {
		yield(n+1, nil, fields{}, err)
	}
}

func (f *File) csv(in *bufio.Reader, yield func(int, []byte, fields, error) bool) {
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
	if err == nil && !slices.Contains(header, "customer_id") {
		err = errors.New("the header must name customer_id, and may name request_id, pool_id, expires_at and context")
	}
	if err != nil {
		yield(1, nil, fields{}, err)
		return
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		line, _ := r.FieldPos(0)
		var req fields
		for i := range min(len(row), len(header)) {
			switch header[i] {
			case "request_id":
				req.RequestID = row[i]
			case "pool_id":
				req.PoolID = row[i]
			case "customer_id":
				req.CustomerID = row[i]
			case "expires_at":
				req.ExpiresAt = row[i]
			case "context":
				if row[i] != "" {
					req.Context = json.RawMessage(row[i])
				}
			}
		}
		if !yield(line, nil, req, err) || err != nil {
			return
		}
	}
}
