package e2e

import (
	"strings"
	"testing"
	"time"

	"promopool/internal/consumer"
	"promopool/internal/kafkatest"
	"promopool/internal/pgtest"
	"promopool/internal/postgres"
)

// alone are points whose worlds are not like the others.
var alone = map[string]func(t *testing.T, c cell) (hits int){
	"starting.migrate":     migrating,
	"gate.close":           func(t *testing.T, c cell) int { return behind(t, c, forgetIssues, recallIssues) },
	"gate.close_redeeming": func(t *testing.T, c cell) int { return behind(t, c, forgetRedemptions, recallRedemptions) },
}

// migrating has the schema made, again and again.
func migrating(t *testing.T, cell cell) int {
	database := pgtest.Database(t)
	c := newCrashWorld(t, &world{t: t, database: database}, cell) // without a Kafka
	for deadline := time.Now().Add(patience); ; {
		over := c.has()
		n := c.run("migrate", "--database-url", database)
		if !over {
			select {
			case <-n.done:
			case <-c.happened[c.point]:
				if c.fault != fails && c.fault != unsaid {
					n.kill() // where it hangs, who migrates ends it at last, and tries again
				}
			}
		}
		<-n.done
		c.healed.Wait()
		if c.has() && n.cmd.ProcessState.Success() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: the schema is not made", cell)
		}
	}
	// What came of it is used.
	w := newWorldOn(t, kafkatest.ForTest(t), database)
	used := newCrashWorld(t, w, cell)
	used.Populate()
	close(used.happened[used.point])
	used.Start()
	used.Check()
	return c.hitsOf(cell)
}

// What a database restored from a backup has forgotten, and what it remembers when a
// better backup is found.
const (
	forgetIssues = `
		CREATE TABLE saved_issuances AS TABLE issuances; CREATE TABLE saved_batches AS TABLE batches; CREATE TABLE saved_partitions AS TABLE partitions;
		CREATE TABLE saved_runs AS TABLE runs; CREATE TABLE saved_lots AS TABLE lots; CREATE TABLE saved_unlisted AS TABLE unlisted;
		TRUNCATE issuances, batches, unlisted;
		UPDATE partitions SET next_offset = 0, batch_no = 0;
		UPDATE runs SET next = lo, partition = NULL;
		UPDATE lots SET done = 0`
	recallIssues = `
		TRUNCATE runs, issuances, batches;
		INSERT INTO unlisted OVERRIDING SYSTEM VALUE SELECT * FROM saved_unlisted;
		INSERT INTO issuances SELECT * FROM saved_issuances; INSERT INTO batches SELECT * FROM saved_batches; INSERT INTO runs SELECT * FROM saved_runs;
		UPDATE partitions p SET next_offset = s.next_offset, batch_no = s.batch_no FROM saved_partitions s WHERE s.partition = p.partition;
		UPDATE lots l SET done = s.done FROM saved_lots s WHERE s.pool = l.pool AND s.lot = l.lot;
		UPDATE service SET gate = NULL`
	forgetRedemptions = `CREATE TABLE saved_redemptions AS TABLE redemptions; DELETE FROM redemptions`
	recallRedemptions = `INSERT INTO redemptions SELECT * FROM saved_redemptions; UPDATE service SET gate = NULL`
)

// behind has a database forget what was published. The gate must close, and hold
// until the database knows it again.
func behind(t *testing.T, cell cell, forget, recall string) int {
	c := newCrashWorld(t, newWorldOn(t, kafkatest.ForTest(t), pgtest.Database(t, postgres.Migrate)), cell)
	c.Populate()
	held := c.cells
	c.cells = nil // nothing happens yet
	first := c.Start()
	c.cells = held
	for range 10 {
		c.requests()
	}
	c.await(c.names.Outcomes, 40)
	c.redeemIssued()
	c.stop(first)
	c.exec(forget)
	known := c.number("SELECT count(*) FROM issuances")

	c.Start()
	for deadline := time.Now().Add(patience); !c.has() || !c.gateClosed(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: the gate is open; the fault has happened: %v", cell, c.has())
		}
		c.revive()
		if c.gateClosed() && !c.has() { // by a partition that needed no further hit
			c.exec("UPDATE service SET gate = NULL")
			c.restart()
		}
	}
	c.healed.Wait()
	for deadline := time.Now().Add(patience); !c.says("the gate is closed"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("readyz does not say that the gate is closed")
		}
		c.revive()
	}
	c.requests()
	if issued := c.number("SELECT count(*) FROM issuances"); issued != known {
		t.Errorf("%d codes were issued by a database that is behind", issued-known)
	}
	c.stopAll()
	c.exec(recall)
	c.Start()
	c.Check()
	return c.hitsOf(cell)
}

func (c *crashWorld) gateClosed() bool {
	return c.number("SELECT count(*) FROM service WHERE gate IS NOT NULL") > 0
}

// says reports whether a process says so when it is asked whether it is ready.
func (c *crashWorld) says(what string) bool {
	for _, base := range c.bases() {
		if text := (&node{w: c.world, http: base}).get("/readyz"); strings.Contains(text, what) {
			return true
		}
	}
	return false
}

// await waits for n records of a topic.
func (c *crashWorld) await(topic string, n int) {
	c.t.Helper()
	got := 0
	if !c.reader(topic).more(patience, func(int, *consumer.Record) bool { got++; return got >= n }) {
		c.t.Fatalf("%d records of %s, want %d", got, topic, n)
	}
}

// redeemIssued redeems codes over Kafka, each in another partition.
func (c *crashWorld) redeemIssued() {
	for range 6 {
		c.redemptions()
	}
	c.await(c.names.RedemptionOutcomes, 18)
}
