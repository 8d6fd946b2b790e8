package load

import (
	"encoding/json"
	"errors"
	"io"
	"iter"
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

// codeRequests is the form of a file of them.
var codeRequests = form[fields]{
	what: "a code request", needed: "customer_id", others: "request_id, pool_id, expires_at and context",
	columns: map[string]func(*fields, string){
		"request_id":  func(f *fields, text string) { f.RequestID = text },
		"pool_id":     func(f *fields, text string) { f.PoolID = text },
		"customer_id": func(f *fields, text string) { f.CustomerID = text },
		"expires_at":  func(f *fields, text string) { f.ExpiresAt = text },
		"context":     func(f *fields, text string) { f.Context = rawOrNone(text) },
	},
}

func rawOrNone(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// Messages yields the requests. An error names the line.
func (f *File) Messages() iter.Seq2[Message, error] {
	return codeRequests.messages(f.In, f.message)
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
	whole, err := completed(whole, r)
	return Message{PoolID: r.PoolID, RequestID: r.RequestID, Key: f.Key(r.CustomerID, r.RequestID), Value: whole}, err
}

// completed is the line as it stands, or where that is none what it was made to.
func completed(whole []byte, r any) ([]byte, error) {
	if whole != nil {
		return whole, nil
	}
	whole, err := json.Marshal(r)
	if err != nil {
		return nil, errors.New("context is not JSON")
	}
	return whole, nil
}
