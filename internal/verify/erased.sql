-- What was rejected and is answered again without a name is known by its delivery. A
-- hash of 0 is nobody's: the event is the answer to something else.
UPDATE audit_outcomes o
   SET hash = CASE WHEN r.pool = o.pool AND r.request = o.request AND r.alias = o.customer THEN r.hash ELSE 0 END
  FROM audit_requests r
 WHERE o.erased AND NOT o.issued AND NOT o.other_stream AND r.part = o.rpart AND r.off = o.roff;
