package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"promopool/internal/domain"
)

const (
	campaign = "summer-2026"
	bigPool  = "summer-sale"
	fileName = "summer-codes.csv"
)

// fill makes a pool and fills it from a file that is not quite right.
func (d *demo) fill(ctx context.Context) error {
	service := d.api(d.nodes[0])
	file, err := nameless("promopool-demo-*.csv")
	if err != nil {
		return err
	}
	defer file.Close()
	wrong, err := writeCodes(file, "SUMMER", d.Codes, time.Now())
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if err := d.showHead(file, size); err != nil {
		return err
	}

	if err := service.post(ctx, "/v1/campaigns", map[string]any{"id": campaign, "name": "Summer 2026"}, nil); err != nil {
		return err
	}
	if err := service.post(ctx, "/v1/pools", map[string]any{
		"id": bigPool, "campaign_id": campaign, "name": "Summer sale, 10 % off", "parameter_name": "promo_code",
	}, nil); err != nil {
		return err
	}
	d.say("Campaign %s and pool %s are made; the pool is a draft.", campaign, bigPool)
	if err := d.launchTooSoon(ctx, service); err != nil {
		return err
	}
	return d.importFile(ctx, service, file, wrong)
}

// showHead shows the beginning of the file, which is read from its start after.
func (d *demo) showHead(file io.ReadSeeker, size int64) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewScanner(file)
	d.say("The file %s, %s, as a marketing department has it:", fileName, megabytes(size))
	for n := 0; n < 3 && lines.Scan(); n++ {
		text := lines.Text()
		if code, dates, ok := strings.Cut(text, ";"); ok && n > 0 {
			text = masked(code) + ";" + dates
		}
		d.show(text)
	}
	_, err := file.Seek(0, io.SeekStart)
	return errors.Join(lines.Err(), err)
}

// launchTooSoon shows that a pool which lacks something is not launched.
func (d *demo) launchTooSoon(ctx context.Context, service api) error {
	err := service.post(ctx, "/v1/pools/"+bigPool+"/launch", nil, nil)
	var no *refusal
	switch {
	case err == nil:
		d.check(false, "No launch before a pool is complete", "it was launched without a description")
	case !errors.As(err, &no) || no.Status >= 500:
		return err
	default:
		d.say("Launch it now? The service refuses: “%s”", no.Detail)
		d.check(no.Status == http.StatusConflict && strings.Contains(no.Detail, "description"), "No launch before a pool is complete", "refused: no description")
	}
	return service.send(ctx, http.MethodPatch, "/v1/pools/"+bigPool,
		map[string]any{"description": "10 % off everything, one code for each newsletter reader"}, nil)
}

func (d *demo) importFile(ctx context.Context, service api, file io.Reader, wrong []fault) error {
	began := time.Now()
	waiting := d.while(ctx, "the file goes up")
	task, err := service.upload(ctx, bigPool, "text/csv", file)
	waiting()
	if err != nil {
		return err
	}
	up := time.Since(began)
	rows := int64(d.Codes + len(wrong))
	v, err := service.follow(ctx, task.Task, func(v importView) {
		d.progress("import %d  %s  %s of %s rows", v.Task, bar(v.Rows, rows), number(v.Rows), number(rows))
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	d.say("Uploaded as a stream in %s. Task %d read %s rows in %s: %s added, %s refused.",
		seconds(up), v.Task, number(v.Rows), seconds(took-up), number(v.Added), number(v.Refused))

	d.say("The refused rows, which can also be downloaded, corrected and sent again:")
	table := [][]string{{"line", "what", "why"}}
	var told []fault
	for _, r := range v.Refusals {
		told = append(told, r.fault)
		table = append(table, []string{number(r.Line), r.what(), brief(r.Reason.Detail())})
	}
	d.table(table, 0)
	d.check(v.Added == int64(d.Codes), "The good rows of the file are in", "%s codes, %s", number(v.Added), rate(int(v.Added), took))
	d.check(v.Refused == int64(len(wrong)) && slices.Equal(told, wrong), "Bad rows are refused, one by one", "%d, each with line and reason", v.Refused)
	return d.launch(ctx, service)
}

func (d *demo) launch(ctx context.Context, service api) error {
	if err := service.post(ctx, "/v1/pools/"+bigPool+"/launch", nil, nil); err != nil {
		return err
	}
	s, err := service.stock(ctx, bigPool)
	if err != nil {
		return err
	}
	d.say("With a description it is launched: %s codes may go out now, %s from %s on.",
		number(s.Available), number(s.Scheduled), time.Now().UTC().AddDate(0, 0, 14).Format("2 January"))
	return nil
}

// what is wrong with the row, a code only in part.
func (r refusedRow) what() string {
	if r.Reason == domain.DuplicateInFile {
		return masked(r.Value)
	}
	return shorten(r.Value, 22)
}

// brief is a sentence without what follows the reason itself.
func brief(sentence string) string {
	const most = 43
	for len(sentence) > most {
		at := max(strings.LastIndex(sentence, ", "), strings.LastIndex(sentence, ": "))
		if at < 0 {
			return shorten(sentence, most)
		}
		sentence = sentence[:at]
	}
	return sentence
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
