-- one in full
-- :step id; :start of the part, from 1; :chars of a part, 4000 if left out
SELECT step_id, run_id, thread_id, node, seq, parent_id, kind, name, status, reason, effect, started_at,
       duration_ms, model, input_tokens, output_tokens, cost_usd, replays, tool_call_id, idempotency_key,
       length(input) AS input_chars,
       substr(input, coalesce(:start, 1), coalesce(:chars, 4000)) AS input,
       length(output) AS output_chars,
       substr(output, coalesce(:start, 1), coalesce(:chars, 4000)) AS output,
       length(error) AS error_chars,
       substr(error, coalesce(:start, 1), coalesce(:chars, 4000)) AS error
FROM steps
WHERE step_id = CAST(:step AS TEXT)
