package e2e

import (
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"promopool/internal/producer"
)

// provoke are points that are met only when answers of another are lost.
var provoke = map[string]string{"issuing.resolve": "issuing.commit"}

// drives make the service write at a point, at each call anew.
var drives = map[string]func(*crashWorld){
	"starting.topics": (*crashWorld).restartWithoutTopic,

	"issuing.partitions": (*crashWorld).restart, "issuing.claim": (*crashWorld).restart,
	"issuing.resolve": (*crashWorld).requests, "issuing.refill": (*crashWorld).manyRequests, "issuing.give_back": (*crashWorld).takeTurns,
	"issuing.commit": (*crashWorld).requests, "issuing.commit_locked": (*crashWorld).requests,
	"issuing.publish": (*crashWorld).requests, "issuing.offset": (*crashWorld).requests, "issuing.dead_letter": (*crashWorld).nonsense,
	"issuing.prune": (*crashWorld).tidy,

	"gate.close_outbox": (*crashWorld).restart,

	"imports.begin": (*crashWorld).upload, "imports.append": (*crashWorld).upload, "imports.submit": (*crashWorld).upload,
	"imports.claim": (*crashWorld).upload, "imports.number": (*crashWorld).upload, "imports.chunk": (*crashWorld).upload,
	"imports.let_go": (*crashWorld).upload, "imports.drop_parts": (*crashWorld).upload, "imports.file_dropped": (*crashWorld).upload,
	"imports.drop_moves": (*crashWorld).upload, "imports.drop_seen": (*crashWorld).upload, "imports.seen_dropped": (*crashWorld).upload,
	"imports.abandon": (*crashWorld).uploadNothing, "imports.cancel": (*crashWorld).cancel, "imports.rehearse": (*crashWorld).rehearse,
	"imports.move": (*crashWorld).move, "imports.lay_anew": (*crashWorld).move, "imports.fail": (*crashWorld).uploadNonsense,

	"pools.create_campaign": (*crashWorld).campaign, "pools.rename_campaign": (*crashWorld).campaign, "pools.delete_campaign": (*crashWorld).campaign,
	"pools.create": (*crashWorld).pool, "pools.edit": (*crashWorld).pool, "pools.move": (*crashWorld).pool,
	"pools.delete": (*crashWorld).deletePool, "pools.delete_codes": (*crashWorld).deletePool,
	"pools.generate": (*crashWorld).generate, "pools.replenish": (*crashWorld).replenish,
	"pools.create_staff": (*crashWorld).hire, "pools.edit_staff": (*crashWorld).hire, "pools.delete_staff": (*crashWorld).hire, "pools.subscribe": (*crashWorld).hire,

	"byhand.issue": (*crashWorld).handout, "byhand.block": (*crashWorld).block,

	"redeeming.commit": (*crashWorld).redeem, "redeeming.roll_back": (*crashWorld).redeem,
	"redeeming.publish": (*crashWorld).redemptions, "redeeming.offset": (*crashWorld).redemptions, "redeeming.dead_letter": (*crashWorld).redemptionNonsense,
	"redeeming.prune": (*crashWorld).tidy, "redeeming.prune_refused": (*crashWorld).tidy,

	"notices.watch": (*crashWorld).restart, "notices.judge": (*crashWorld).low, "notices.use": (*crashWorld).requests, "notices.forget_use": (*crashWorld).restart,
	"outbox.publish": (*crashWorld).handout, "outbox.delete": (*crashWorld).handout,
	"outbox.take_lease": (*crashWorld).serving, "outbox.drop_lease": (*crashWorld).restart,

	"customers.list": (*crashWorld).handout, "customers.begin_erasure": (*crashWorld).erase, "customers.erase": (*crashWorld).erase,
	"customers.mark_erasure": (*crashWorld).erase, "customers.finish_erasure": (*crashWorld).erase,
}

// Populate makes what every drive finds: pools that are ample, one that is scarce,
// and somebody who is told.
func (c *crashWorld) Populate() {
	c.t.Helper()
	c.Pool("ample", 6000)
	c.Pool("spare", 6000)
	c.Pool("few", 400)
	c.exec("UPDATE pools SET notify = true, notify_below = 399 WHERE id = 'few'")
}

// tell publishes requests.
func (c *crashWorld) tell(asks ...ask) {
	c.Send(asks...)
	c.sent += len(asks)
}

func (c *crashWorld) request(pool string) ask {
	id := c.name("k")
	return ask{pool: pool, request: id, customer: "c-" + id}
}

func (c *crashWorld) requests() {
	c.tell(c.request("ample"), c.request("ample"), c.request("few"), c.request("nowhere"))
}

// manyRequests empty buffers.
func (c *crashWorld) manyRequests() {
	var asks []ask
	for range 120 {
		a := c.request("ample")
		a.key = "one"
		asks = append(asks, a)
	}
	c.tell(asks...)
}

// takeTurns uses two pools in one partition by turns, so that the buffer of the one
// that rests is handed back.
func (c *crashWorld) takeTurns() {
	a := c.request([]string{"ample", "spare"}[c.made/2%2])
	a.key = "one"
	c.made++
	c.tell(a)
	time.Sleep(1100 * time.Millisecond) // for so long it must have rested
}

func (c *crashWorld) nonsense() {
	c.garbage(c.names.Requests)
	c.tell(c.request("ample"))
}

func (c *crashWorld) redemptionNonsense() { c.garbage(c.names.RedemptionRequests) }

func (c *crashWorld) garbage(topic string) {
	p := c.rng.IntN(partitions)
	if err := c.producer.Publish(c.t.Context(), topic, p, []producer.Record{{Value: []byte("no event " + c.name("x")), Time: time.Now()}}); err != nil {
		c.t.Error(err)
	}
}

// restart stops what runs and starts it again.
func (c *crashWorld) restart() {
	c.requests()
	c.stopAll()
	c.begin()
}

// begin starts a process where there is none.
func (c *crashWorld) begin() {
	if c.has() {
		c.healed.Wait()
	}
	c.mu.Lock()
	alone := len(c.nodes) == 0 && c.healing == 0
	c.mu.Unlock()
	if alone {
		c.Start()
	}
}

// tidy lets a process live until it has cleaned up.
func (c *crashWorld) tidy() {
	had := c.hitsOf(c.cell)
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline) && !c.has() && c.hitsOf(c.cell) == had; {
		time.Sleep(10 * time.Millisecond)
	}
	if !c.has() {
		c.restart()
	}
}

func (c *crashWorld) restartWithoutTopic() {
	c.stopAll()
	if !c.has() {
		if _, err := c.client.DeleteTopics(c.t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{c.names.Notifications}}); err != nil {
			c.t.Error(err)
		}
	}
	c.begin()
}

// ended waits for a task's end.
func (c *crashWorld) ended(task any) {
	c.t.Helper()
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		switch status := fmt.Sprint(c.ask("GET", fmt.Sprint("/v1/imports/", task), "")["status"]); {
		case strings.HasPrefix(status, "completed"), status == "failed", status == "cancelled":
			c.keep(fmt.Sprint("/v1/imports/", task), "status", status)
			return
		}
		c.revive()
	}
	c.t.Errorf("import %v does not end", task)
}

// file is n codes, each c0de-NAME-i.
func file(name string, n int) string {
	var text strings.Builder
	text.WriteString("code\n")
	for i := range n {
		fmt.Fprintf(&text, "c0de-%s-%d\n", name, i)
	}
	return text.String()
}

func (c *crashWorld) upload() {
	name := c.name("file")
	c.Draft(name)
	c.ended(c.askAs(asCSV, "POST", "/v1/pools/"+name+"/imports", file(name, 20))["task"])
}

func (c *crashWorld) uploadNothing() {
	c.askAs(asCSV, "POST", "/v1/pools/few/imports", "", "/problems/")
}

func (c *crashWorld) uploadNonsense() {
	name := c.name("file")
	c.Draft(name)
	if task := c.askAs(asSheet, "POST", "/v1/pools/"+name+"/imports", "no workbook")["task"]; task != nil {
		c.ended(task)
	}
}

func (c *crashWorld) cancel() {
	name := c.name("file")
	c.Draft(name)
	task := c.askAs(asCSV, "POST", "/v1/pools/"+name+"/imports", file(name, 5000))["task"]
	c.ask("POST", fmt.Sprint("/v1/imports/", task, "/cancel"), "", "/problems/")
	c.ended(task)
}

func (c *crashWorld) rehearse() {
	c.ended(c.askAs(asCSV, "POST", "/v1/pools/ample/imports?dry_run=true", file(c.name("file"), 20))["task"])
}

// move gives every other code of a pool other dates, so that what is left lies in
// pieces.
func (c *crashWorld) move() {
	name := c.name("file")
	c.Draft(name)
	c.AddCodes(name, name, 600)
	var text strings.Builder
	text.WriteString("code,issue_end\n")
	for i := 0; i < 600; i += 2 {
		fmt.Fprintf(&text, "c0de-%s-%d,2099-01-01\n", name, i)
	}
	c.ended(c.askAs(asCSV, "POST", "/v1/pools/"+name+"/imports", text.String())["task"])
}

func (c *crashWorld) campaign() {
	id := c.name("campaign")
	c.ask("POST", "/v1/campaigns", fmt.Sprintf(`{"id": %q, "name": "Campaign"}`, id), "id-taken")
	c.ask("PATCH", "/v1/campaigns/"+id, fmt.Sprintf(`{"name": "renamed %s"}`, id))
	if c.ask("GET", "/v1/campaigns/"+id, "")["name"] != "renamed "+id {
		c.t.Errorf("campaign %s was not renamed", id)
	}
	c.ask("DELETE", "/v1/campaigns/"+id, "", "not-found")
}

func (c *crashWorld) pool() {
	id := c.name("pool")
	c.ask("POST", "/v1/pools", fmt.Sprintf(`{"id": %q, "campaign_id": "c", "name": "Pool"}`, id), "id-taken")
	c.ask("PATCH", "/v1/pools/"+id, `{"description": "edited"}`)
	c.ask("POST", "/v1/pools/"+id+"/launch", "", "/problems/")
	c.keep("/v1/pools/"+id, "description", "edited")
	c.keep("/v1/pools/"+id, "state", "active")
}

func (c *crashWorld) deletePool() {
	id := c.name("pool")
	c.Draft(id)
	c.AddCodes(id, id, 10)
	c.ask("DELETE", "/v1/pools/"+id, "", "not-found")
}

func (c *crashWorld) generate() {
	id := c.name("gen")
	c.Draft(id)
	task := c.ask("POST", "/v1/pools/"+id+"/generate", `{"count": 50, "pattern": "c0de-########"}`)["task"]
	c.keep(fmt.Sprint("/v1/imports/", task), "added", 50)
}

func (c *crashWorld) replenish() {
	id := c.name("gen")
	c.Draft(id)
	c.ask("PATCH", "/v1/pools/"+id, `{"replenish": {"below": 10, "count": 20, "pattern": "c0de-########"}}`)
	for deadline := time.Now().Add(patience); c.ask("GET", "/v1/pools/"+id+"/stock", "")["total"] != 20.0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Errorf("pool %s is not replenished", id)
			return
		}
	}
	c.keep("/v1/pools/"+id+"/stock", "total", 20)
}

func (c *crashWorld) hire() {
	id := c.name("staff")
	c.ask("POST", "/v1/staff", fmt.Sprintf(`{"id": %q, "name": %q, "email": "%s@example.com"}`, id, id, id), "id-taken")
	c.ask("PATCH", "/v1/staff/"+id, `{"name": "other"}`)
	c.ask("PUT", "/v1/staff/"+id+"/subscriptions/all", "")
	if c.point != "pools.delete_staff" {
		c.keep("/v1/staff/"+id, "name", "other")
		c.keep("/v1/staff/"+id, "subscriptions", "[all]")
		return
	}
	c.ask("DELETE", "/v1/staff/"+id, "", "not-found")
}

// handout issues the next code by hand, and returns the request and the code.
func (c *crashWorld) handout() { c.issue() }

func (c *crashWorld) issue() (request, code string) {
	request = c.name("h")
	code, _ = c.ask("POST", "/v1/pools/few/issue", fmt.Sprintf(`{"request_id": %q, "customer_id": "c-%s"}`, request, request))["code"].(string)
	c.keep("/v1/pools/few/issuances/"+request, "code", code)
	return request, code
}

func (c *crashWorld) block() {
	code := fmt.Sprintf("c0de-few-%d", 399-c.blocked) // the last to be issued
	c.blocked++
	c.ask("POST", "/v1/pools/few/codes/"+code+"/block", "{}")
	c.keep("/v1/pools/few/codes/"+code, "state", "blocked")
}

func (c *crashWorld) redeem() {
	_, code := c.issue()
	id := c.name("r")
	c.ask("POST", "/v1/pools/few/codes/"+code+"/redeem", fmt.Sprintf(`{"redemption_id": %q}`, id))
	c.keep("/v1/pools/few/redemptions/"+id, "code", code)
	if c.point == "redeeming.roll_back" {
		c.ask("POST", "/v1/pools/few/redemptions/"+id+"/rollback", "")
		if c.ask("GET", "/v1/pools/few/redemptions/"+id, "")["rolled_back_at"] == nil {
			c.t.Errorf("redemption %s is not rolled back", id)
		}
	}
}

// redemptions asks for some over Kafka, of codes that nobody else comes to.
func (c *crashWorld) redemptions() {
	for range 3 {
		id := c.name("r")
		key := []byte(id)
		value := fmt.Sprintf(`{"redemption_id": %q, "pool_id": "few", "code": "c0de-few-%d"}`, id, 200+c.made)
		rec := producer.Record{Key: key, Value: []byte(value), Time: time.Now(), Headers: []kafka.Header{
			{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_type", Value: []byte("promopool.redemption.requested")},
			{Key: "ce_id", Value: key}, {Key: "ce_source", Value: []byte("/test")},
		}}
		if err := c.producer.Publish(c.t.Context(), c.names.RedemptionRequests, producer.Partition(key, partitions), []producer.Record{rec}); err != nil {
			c.t.Error(err)
		}
	}
}

// low has a pool run low by its watcher's eye.
func (c *crashWorld) low() {
	id := c.name("low")
	c.Draft(id)
	c.AddCodes(id, id, 3)
	c.ask("PATCH", "/v1/pools/"+id, `{"notify_below": 3}`)
	c.ask("POST", "/v1/pools/"+id+"/launch", "", "/problems/")
	c.tell(c.request(id))
}

func (c *crashWorld) erase() {
	request, _ := c.issue()
	for deadline := time.Now().Add(2 * patience); c.ask("DELETE", "/v1/customers/c-"+request, "")["done"] != true; {
		if time.Now().After(deadline) {
			c.t.Error("the customer is not erased")
			return
		}
	}
}

// traffic is some of everything, once the fault is over.
func (c *crashWorld) traffic() {
	c.t.Helper()
	c.requests()
	c.nonsense()
	c.redeem()
	c.redemptions()
	c.upload()
}
