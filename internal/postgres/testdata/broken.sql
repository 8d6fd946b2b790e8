-- What contradicts an invariant, a line each; no line when all hold.
-- Exact stock (6): every code of a lot is issued, held, free or withdrawn.
SELECT format('lot %s/%s has %s codes, its runs and withdrawals tell of %s', l.pool, l.lot, l.size - l.moved, l.done + coalesce(r.n, 0) + l.withdrawn)
  FROM lots l JOIN pools p USING (pool)
  LEFT JOIN (SELECT pool, lot, sum(hi - lo) AS n FROM runs GROUP BY pool, lot) r USING (pool, lot)
 WHERE NOT p.multi_use AND l.size - l.moved <> l.done + coalesce(r.n, 0) + l.withdrawn
UNION ALL
SELECT format('lot %s/%s has %s issuances, its runs tell of %s', l.pool, l.lot, coalesce(i.n, 0), l.done + coalesce(r.n, 0) - passed_over(l.pool, l.lot))
  FROM lots l
  LEFT JOIN (SELECT pool, lot, sum(next - lo) AS n FROM runs GROUP BY pool, lot) r USING (pool, lot)
  LEFT JOIN (SELECT pool, lot, count(*) AS n FROM issuances GROUP BY pool, lot) i USING (pool, lot)
 WHERE coalesce(i.n, 0) <> l.done + coalesce(r.n, 0) - passed_over(l.pool, l.lot)
UNION ALL
SELECT format('code %s/%s/%s is issued, and still to be issued', i.pool, i.lot, i.seq)
  FROM issuances i JOIN runs r ON r.pool = i.pool AND r.lot = i.lot AND i.seq >= r.next AND i.seq < r.hi
UNION ALL
SELECT format('runs %s/%s/%s and %s overlap', a.pool, a.lot, a.lo, b.lo)
  FROM runs a JOIN runs b ON b.pool = a.pool AND b.lot = a.lot AND b.lo > a.lo AND b.lo < a.hi
UNION ALL
SELECT format('run %s/%s/%s lies outside its lot', r.pool, r.lot, r.lo)
  FROM runs r JOIN pools p USING (pool) LEFT JOIN lots l USING (pool, lot)
 WHERE l.size IS NULL OR r.lo < 0 OR NOT p.multi_use AND r.hi > l.size
UNION ALL
SELECT format('run %s/%s/%s has other windows than its lot', r.pool, r.lot, r.lo)
  FROM runs r JOIN lots l USING (pool, lot)
 WHERE (r.issue_start, r.issue_end, r.available_till)
       <> (coalesce(l.issue_start, '-infinity'), coalesce(l.issue_end, 'infinity'), coalesce(l.available_till, 'infinity'))
-- Of stored codes, each is issued or still to be issued, and the other way round.
UNION ALL
SELECT format('lot %s/%s has %s stored codes, %s by its size', l.pool, l.lot, coalesce(c.n, 0), l.size - l.moved)
  FROM lots l LEFT JOIN (SELECT pool, lot, count(*) AS n FROM codes GROUP BY pool, lot) c USING (pool, lot)
 WHERE l.generator IS NULL AND coalesce(c.n, 0) <> l.size - l.moved
UNION ALL
SELECT format('%s codes of lot %s/%s are neither issued nor to be issued', count(*), c.pool, c.lot)
  FROM codes c JOIN pools p USING (pool)
 WHERE NOT p.multi_use
   AND NOT EXISTS (SELECT FROM issuances i WHERE (i.pool, i.lot, i.seq) = (c.pool, c.lot, c.seq))
   AND NOT EXISTS (SELECT FROM runs r WHERE (r.pool, r.lot) = (c.pool, c.lot) AND c.seq >= r.next AND c.seq < r.hi)
   AND NOT EXISTS (SELECT FROM withdrawn w WHERE (w.pool, w.lot, w.seq) = (c.pool, c.lot, c.seq))
 GROUP BY c.pool, c.lot
-- What is withdrawn or blocked is nobody's to issue.
UNION ALL
SELECT format('code %s/%s/%s is withdrawn, and issued or to be issued', w.pool, w.lot, w.seq)
  FROM withdrawn w
 WHERE EXISTS (SELECT FROM issuances i WHERE (i.pool, i.lot, i.seq) = (w.pool, w.lot, w.seq))
    OR EXISTS (SELECT FROM runs r WHERE (r.pool, r.lot) = (w.pool, w.lot) AND w.seq >= r.lo AND w.seq < r.hi)
UNION ALL
SELECT format('code %s/%s/%s is blocked, and neither issued nor withdrawn', b.pool, b.lot, b.seq)
  FROM blocks b JOIN pools p USING (pool)
 WHERE NOT p.multi_use AND NOT EXISTS (SELECT FROM issuances i WHERE (i.pool, i.lot, i.seq) = (b.pool, b.lot, b.seq))
   AND NOT EXISTS (SELECT FROM withdrawn w WHERE (w.pool, w.lot, w.seq) = (b.pool, b.lot, b.seq))
UNION ALL
SELECT format('code %s/%s/%s is blocked, and its history does not say so', b.pool, b.lot, b.seq)
  FROM blocks b
 WHERE NOT EXISTS (SELECT FROM code_history h WHERE (h.pool, h.lot, h.seq) = (b.pool, b.lot, b.seq) AND h.action = 'blocked')
UNION ALL
SELECT format('code %s/%s/%s is withdrawn as blocked, and is not blocked', w.pool, w.lot, w.seq)
  FROM withdrawn w
 WHERE w.why = 'blocked' AND NOT EXISTS (SELECT FROM blocks b WHERE (b.pool, b.lot, b.seq) = (w.pool, w.lot, w.seq))
UNION ALL
SELECT format('lot %s/%s has %s codes withdrawn and %s blocked, %s and %s by its count', l.pool, l.lot, coalesce(w.n, 0), coalesce(b.n, 0), l.withdrawn, l.blocked)
  FROM lots l JOIN pools p USING (pool)
  LEFT JOIN (SELECT pool, lot, count(*) AS n FROM withdrawn GROUP BY pool, lot) w USING (pool, lot)
  LEFT JOIN (SELECT pool, lot, count(*) AS n FROM blocks GROUP BY pool, lot) b USING (pool, lot)
 WHERE coalesce(w.n, 0) <> l.withdrawn OR CASE WHEN p.multi_use THEN coalesce(b.n, 0) ELSE 0 END <> l.blocked
-- How lots have changed is what they are.
UNION ALL
SELECT format('lot %s/%s was changed otherwise than its changes tell', pool, lot)
  FROM lots l FULL JOIN (SELECT pool, lot, sum(added) AS added, sum(taken) AS taken, sum(withdrawn) AS withdrawn FROM lot_changes GROUP BY pool, lot) c USING (pool, lot)
 WHERE l.size IS NULL OR l.moved <> coalesce(c.taken, 0) OR l.size <= coalesce(c.added, 0) OR l.withdrawn + l.blocked <> coalesce(c.withdrawn, 0)
-- Windows (8).
UNION ALL
SELECT format('code %s/%s/%s was issued outside its window', i.pool, i.lot, i.seq)
  FROM issuances i JOIN lots l USING (pool, lot)
 WHERE i.issued_at < l.issue_start OR i.issued_at >= l.issue_end OR i.issued_at >= l.available_till
-- A batch may have read the clock up to a second before the pool's window that it
-- obeys, never after the end of it.
UNION ALL
SELECT format('code %s/%s/%s was issued at %s, against %s of its pool', i.pool, i.lot, i.seq, i.issued_at, f.field)
  FROM issuances i JOIN pools p USING (pool)
 CROSS JOIN (VALUES ('issue_start'), ('issue_end')) f(field)
 WHERE i.pool IN (SELECT h.pool FROM history h WHERE h.changes ?| '{issue_start,issue_end}')
   AND NOT EXISTS (
        SELECT FROM (SELECT coalesce(lag(h.at) OVER w, '-infinity') AS since, coalesce(h.at, 'infinity') AS until, h.bound
                       FROM (SELECT h.entry, h.at, (h.changes->f.field->>'from')::timestamptz AS bound
                               FROM history h WHERE h.pool = i.pool AND h.action = 'pool.edited' AND h.changes ? f.field
                              UNION ALL SELECT NULL, NULL, CASE f.field WHEN 'issue_start' THEN p.issue_start ELSE p.issue_end END) h
                     WINDOW w AS (ORDER BY h.entry NULLS LAST)) v
         WHERE i.issued_at BETWEEN v.since - interval '1 second' AND v.until
           AND coalesce(CASE f.field WHEN 'issue_start' THEN i.issued_at >= v.bound ELSE i.issued_at < v.bound END, true))
-- One delivery, one verdict (5): nothing is decided twice.
UNION ALL
SELECT format('batches of partition %s at %s and %s overlap', a.partition, a.first_offset, b.first_offset)
  FROM batches a JOIN batches b ON b.partition = a.partition AND b.first_offset > a.first_offset AND b.first_offset < a.end_offset
UNION ALL
SELECT format('partition %s is decided up to %s, its last batch ends at %s', p.partition, p.next_offset, b.last)
  FROM partitions p JOIN (SELECT partition, max(end_offset) AS last FROM batches GROUP BY partition) b USING (partition)
 WHERE p.next_offset <> b.last
