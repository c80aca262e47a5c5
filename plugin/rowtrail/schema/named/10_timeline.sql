-- steps of a run
-- :run id, without it the newest run; :after a seq, for the steps behind it
SELECT seq, step_id, node, kind, name, status, round(duration_ms) AS ms, input_tokens, output_tokens, replays,
       substr(coalesce(error, CASE
           WHEN json_valid(output) AND json_type(output, '$.content') IS NOT NULL
           THEN coalesce(nullif(@text(output), ''), json_extract(output, '$.tool_calls'))
           ELSE output END), 1, 200) AS outcome
FROM steps
WHERE run_id = coalesce(:run, (SELECT run_id FROM runs ORDER BY started_at DESC, run_id DESC LIMIT 1))
  AND seq > CAST(coalesce(:after, 0) AS INTEGER)
ORDER BY seq
LIMIT 500
