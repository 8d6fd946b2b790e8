INSERT INTO audit_redemptions (pool, redemption, content, code, customer, order_id, occurred_at, issued_to, decided_at, reason, external, rolled_back_at, context)
SELECT p.id, r.redemption_id, NULL, md5(r.code)::uuid, r.customer_id, r.order_id, r.occurred_at, r.issued_to, r.decided_at, n.name, r.external, r.rolled_back_at, md5(r.context)::uuid
  FROM redemptions r
  JOIN pools p ON p.pool = r.pool
  JOIN audit_redemption_reasons n ON n.reason = r.reason
UNION ALL
SELECT f.pool_id, f.redemption_id, CASE WHEN f.content <> '' THEN encode(f.content, 'hex')::uuid END, md5(f.code)::uuid, f.customer_id, f.order_id, f.occurred_at, NULL, f.decided_at, n.name, false, NULL, md5(f.context)::uuid
  FROM refused_redemptions f
  JOIN audit_redemption_reasons n ON n.reason = f.reason;
