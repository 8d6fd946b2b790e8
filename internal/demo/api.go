package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"promopool/internal/domain"
)

// api speaks to the HTTP interface of one process.
type api struct {
	base   string
	client *http.Client
}

// A refusal is an answer that is no success.
type refusal struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s: %s", r.Status, r.Title, r.Detail) }

// post sends a body of JSON; answer may be nil.
func (a api) post(ctx context.Context, path string, body, answer any) error {
	return a.send(ctx, http.MethodPost, path, body, answer)
}

func (a api) send(ctx context.Context, method, path string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return a.do(ctx, method, path, "application/json", bytes.NewReader(b), answer)
}

func (a api) get(ctx context.Context, path string, answer any) error {
	return a.do(ctx, http.MethodGet, path, "", nil, answer)
}

func (a api) do(ctx context.Context, method, path, mediaType string, body io.Reader, answer any) error {
	resp, err := a.ask(ctx, method, path, mediaType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// ask returns a success, whose body the caller closes.
func (a api) ask(ctx context.Context, method, path, mediaType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	r := &refusal{}
	if json.NewDecoder(resp.Body).Decode(r) != nil || r.Status == 0 {
		r = &refusal{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode)}
	}
	return nil, fmt.Errorf("%s %s: %w", method, path, r)
}

// importView is what the interface says of an import.
type importView struct {
	Task     int64
	Status   domain.ImportStatus
	Error    string
	Rows     int64
	Added    int64
	Refused  int64
	Refusals []refusedRow
}

// A refusedRow is a row that an import did not take.
type refusedRow struct {
	fault
	Value string
}

// upload sends a file as it is read, without saying how long it is.
func (a api) upload(ctx context.Context, pool, mediaType string, file io.Reader) (importView, error) {
	var v importView
	err := a.do(ctx, http.MethodPost, "/v1/pools/"+pool+"/imports", mediaType, io.MultiReader(file), &v)
	return v, err
}

// follow watches an import to its end.
func (a api) follow(ctx context.Context, task int64, seen func(importView)) (importView, error) {
	for {
		var v importView
		if err := a.get(ctx, fmt.Sprintf("/v1/imports/%d", task), &v); err != nil {
			return v, err
		}
		seen(v)
		switch {
		case v.Status == domain.ImportFailed || v.Status == domain.ImportCancelled:
			return v, fmt.Errorf("import %d is %s: %s", task, v.Status, v.Error)
		case v.Status.Ended():
			return v, nil
		}
		if err := sleep(ctx, tick); err != nil {
			return v, err
		}
	}
}

// stockView is what the interface says of a pool's codes.
type stockView struct {
	Total, Available, Scheduled, Held, Issued, Expired, Withdrawn int64
}

func (a api) stock(ctx context.Context, pool string) (stockView, error) {
	var v stockView
	err := a.get(ctx, "/v1/pools/"+pool+"/stock", &v)
	return v, err
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
