package domain

// StockState is where a pool's stock stands, as far as anybody was told.
type StockState string

// The states of a stock. Low: below the threshold of the pool's notice, which is
// on. Exhausted: nothing is left.
const (
	StockOK        StockState = "ok"
	StockLow       StockState = "low"
	StockExhausted StockState = "exhausted"
)

// CrossingKind is what is told of a step from one state to another.
type CrossingKind string

// The kinds of crossings. Of a quiet one nobody hears.
const (
	WentLow     CrossingKind = "low"
	Exhausted   CrossingKind = "exhausted"
	Replenished CrossingKind = "replenished"
	Quiet       CrossingKind = "quiet"
)

// CrossingKinds are those that are told.
var CrossingKinds = []CrossingKind{WentLow, Exhausted, Replenished}

// Crossing is one step of a pool's stock from a state to another.
type Crossing struct {
	No       int64 // of the pool; the first is 1
	From, To StockState
	Kind     CrossingKind
}

// Watch is what is remembered of a pool's stock, so that each crossing is told
// once. Its zero value, but for the state, is that of a pool just launched.
type Watch struct {
	State StockState
	No    int64 // of the last crossing
	// The crossings that told of low and of exhausted since the stock was ok last;
	// 0: it was not told.
	ToldLow, ToldExhausted int64
}

// Current is the crossing that whoever subscribes now is to hear of, and the
// state that it told; 0: of none.
func (w Watch) Current() (no int64, told CrossingKind) {
	switch w.State {
	case StockLow:
		return w.ToldLow, WentLow
	case StockExhausted:
		return w.ToldExhausted, Exhausted
	}
	return 0, Quiet
}

// Judge compares what is left of a pool with what is remembered of it, and
// returns what is to be remembered from now on and the crossings in between. left
// are the codes that may be issued now or later. A stock that falls from ok to
// nothing at once has gone low on the way, where the notice is on.
func (w Watch) Judge(p *Pool, left int64) (Watch, []Crossing) {
	if p.State != Active || p.MultiUse {
		return w, nil
	}
	var crossed []Crossing
	step := func(to StockState, kind CrossingKind) {
		w.No++
		crossed = append(crossed, Crossing{No: w.No, From: w.State, To: to, Kind: kind})
		switch w.State = to; {
		case to == StockOK:
			w.ToldLow, w.ToldExhausted = 0, 0
		case kind == WentLow:
			w.ToldLow = w.No
		case kind == Exhausted:
			w.ToldExhausted = w.No
		}
	}
	below := p.Notify && left < *p.NotifyBelow
	switch {
	case left == 0:
		if w.State == StockOK && below {
			step(StockLow, WentLow)
		}
		if w.State != StockExhausted {
			step(StockExhausted, Exhausted)
		}
	case below && w.State == StockOK:
		step(StockLow, WentLow)
	case below && w.State == StockExhausted:
		// Some are back, fewer than there should be: known, unless the notice was
		// switched on after the last was gone.
		kind := Quiet
		if w.ToldLow == 0 {
			kind = WentLow
		}
		step(StockLow, kind)
	case below:
	case w.State == StockLow && !p.Notify:
		step(StockOK, Quiet) // nobody is interested any more
	case w.State != StockOK:
		step(StockOK, Replenished)
	}
	return w, crossed
}
