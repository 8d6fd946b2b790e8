package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"promopool/internal/crashpoint"
	"promopool/internal/domain"
	"promopool/internal/importing"
	"promopool/internal/postgres/internal/db"
)

// movesAtOnce bounds a transaction that moves codes: the pool is locked while it
// lasts, and a row of runs written for each.
const movesAtOnce = 1_000

// Move makes moves true that are noted, and then lays what they have left of their
// lots together, so that the pieces do not grow many.
func (s *importSession) Move(ctx context.Context, last importing.Step) (importing.Result, error) {
	t := targets{}
	var res importing.Result
	var moves []importing.Move
	err := s.conn.InTx(ctx, crashpoint.MoveCodes, func(tx pgx.Tx, q *db.Queries) error {
		rows, err := q.NextMoves(ctx, db.NextMovesParams{Task: s.job.Task, Pool: s.pool, AtMost: movesAtOnce})
		if err != nil {
			return err
		}
		for _, r := range rows {
			m := importing.Move{
				Code: r.Code, From: domain.Place{Lot: r.Lot, Seq: r.Seq}, Line: r.Line, Row: r.Row,
				Window: window(r.IssueStart, r.IssueEnd, r.AvailableFrom, r.AvailableTill),
			}
			s.want(t, m.Window)
			moves = append(moves, m)
		}
		if err := t.number(ctx, q.LotNumbers); err != nil {
			return err
		}
		refused, err := s.move(ctx, q, moves, t)
		if err != nil {
			return err
		}
		res.Refused = int64(len(refused))
		res.Moved = int64(len(moves) - len(refused))
		if err := s.copyRefusals(ctx, tx, refused); err != nil {
			return err
		}
		last.Rows = int64(len(moves))
		return s.finish(ctx, q, last, &res, t)
	})
	if err != nil {
		return importing.Result{}, importError(err)
	}
	t.keep(s)
	// Crash point imports.lay_anew: what is left lies in pieces. That is slower, not wrong, and Gather
	// mends it, as it does where the pool was busy.
	if err := importError(s.layRests(ctx, moves)); err != nil && !res.Status.Ended() && !errors.Is(err, importing.ErrBusy) {
		return importing.Result{}, err
	}
	return res, nil
}

// move takes codes out of where they are and lays them behind the step's own. It
// returns refusals for those that stay.
func (s *importSession) move(ctx context.Context, q *db.Queries, moves []importing.Move, t targets) (refused []domain.Refusal, _ error) {
	if s.multiUse { // since the rows were read
		for i := range moves {
			refused = append(refused, moves[i].Refusal(domain.DatesFixed))
		}
		return refused, nil
	}
	if len(moves) == 0 {
		return nil, nil
	}
	var from db.TakeOutParams
	from.Pool = s.pool
	for i := range moves {
		from.Lots, from.Seqs = append(from.Lots, moves[i].From.Lot), append(from.Seqs, moves[i].From.Seq)
	}
	taken, err := q.TakeOut(ctx, from)
	if err != nil {
		return nil, err
	}
	free := make([]bool, len(moves))
	to := db.MoveCodesParams{Pool: s.pool}
	// In the order in which they lay, whatever the list's was.
	slices.SortFunc(taken, func(a, b int32) int {
		x, y := moves[a-1].From, moves[b-1].From
		return cmp.Or(cmp.Compare(x.Lot, y.Lot), cmp.Compare(x.Seq, y.Seq))
	})
	for _, idx := range taken {
		i := idx - 1
		free[i] = true
		l := t[moves[i].Window]
		to.Lots, to.Seqs = append(to.Lots, from.Lots[i]), append(to.Seqs, from.Seqs[i])
		to.IntoLots, to.IntoSeqs = append(to.IntoLots, l.no), append(to.IntoSeqs, l.size+l.more)
		l.more++
	}
	if len(taken) < len(moves) {
		if refused, err = s.refuseStaying(ctx, q, moves, free); err != nil {
			return nil, err
		}
	}
	if len(taken) == 0 {
		return refused, nil
	}
	return refused, q.MoveCodes(ctx, to)
}

// refuseStaying refuses the moves of codes that are not free: they are issued, or
// were blocked or redeemed after their rows were read.
func (s *importSession) refuseStaying(ctx context.Context, q *db.Queries, moves []importing.Move, free []bool) ([]domain.Refusal, error) {
	var arg db.WithdrawnOfParams
	arg.Pool = s.pool
	for i := range moves {
		if !free[i] {
			arg.Lots, arg.Seqs = append(arg.Lots, moves[i].From.Lot), append(arg.Seqs, moves[i].From.Seq)
		}
	}
	withdrawn, err := q.WithdrawnOf(ctx, arg)
	if err != nil {
		return nil, err
	}
	why := make([]domain.RefusalReason, len(arg.Lots))
	for _, w := range withdrawn {
		why[w.Idx-1] = domain.WithheldRefusal(domain.CodeState(w.Why))
	}
	var refused []domain.Refusal
	for i := range moves {
		if !free[i] {
			refused = append(refused, moves[i].Refusal(cmp.Or(why[len(refused)], domain.AlreadyIssued)))
		}
	}
	return refused, nil
}

// layRests lays what the moves have left of their lots, from the first that moved
// on, down together where it lies in small pieces. Codes behind it are done with:
// moves come from a lot's end.
func (s *importSession) layRests(ctx context.Context, moves []importing.Move) error {
	if s.multiUse {
		return nil
	}
	first := map[int32]int64{}
	for i := range moves {
		from := moves[i].From
		if seq, ok := first[from.Lot]; !ok || from.Seq < seq {
			first[from.Lot] = from.Seq
		}
	}
	arg := db.SmallPiecesParams{Pool: s.pool, Pieces: movesAtOnce / 10, Mean: smallPiece}
	for lot, seq := range first {
		arg.Lots, arg.FromSeqs = append(arg.Lots, lot), append(arg.FromSeqs, seq)
	}
	scattered, err := s.q.SmallPieces(ctx, arg)
	if err != nil {
		return err
	}
	for _, lot := range scattered {
		if err := s.layAnew(ctx, lot, first[lot]); err != nil {
			return err
		}
	}
	return nil
}

// smallPiece is the mean length below which pieces are better laid down anew.
const smallPiece = 20

// layAnew lays the free codes of a lot from a number on down in one piece.
func (s *importSession) layAnew(ctx context.Context, lot int32, from int64) error {
	into := s.rests[lot]
	if into.size == 0 {
		n, err := s.lotNumbers(ctx, 1)
		if err != nil {
			return err
		}
		into.no = n[0]
	}
	for {
		n, err := answered(ctx, s.conn, crashpoint.LayAnew, func(ctx context.Context, q *db.Queries) (int64, error) {
			return q.LayAnew(ctx, db.LayAnewParams{Pool: s.pool, Lot: lot, FromSeq: from, IntoLot: into.no, Size: into.size, AtMost: movesAtOnce})
		})
		if err != nil || n == 0 {
			return err
		}
		into.size += n
		s.rests[lot] = into
	}
}

// Gather lays free codes of lots that lie in many small pieces down in one, which
// an import that was cancelled or died has left.
func (s *Store) Gather(ctx context.Context) error {
	lots, err := s.q.ScatteredLots(ctx)
	if err != nil || len(lots) == 0 {
		return asked(err)
	}
	session, err := s.importSession(ctx)
	if err != nil {
		return asked(err)
	}
	defer session.Close()
	for _, l := range lots {
		locked, err := session.q.LockImportsOf(ctx, l.Pool)
		if err != nil {
			return asked(err)
		}
		if !locked {
			continue // the import will see to it
		}
		session.pool = l.Pool
		if err := session.layAnew(ctx, l.Lot, 0); err != nil {
			return err
		}
		if err := session.q.UnlockImportsOf(ctx, l.Pool); err != nil {
			return asked(err)
		}
	}
	return nil
}
