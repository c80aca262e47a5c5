-- name: steps_newest
-- With the process that wrote them, whether it leaves its commits unsynced, and whether somebody
-- else may have changed them since: only a call that ended by itself has a duration.
SELECT s.id, r.run_id, s.kind, s.name, s.status, s.effect, a.process,
       EXISTS (SELECT 1 FROM meta m WHERE m.key = 'normal/' || a.process) AS is_normal,
       s.status IN ('superseded', 'in_doubt') OR (s.status <> 'running' AND s.duration_us IS NULL) AS is_changed
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run JOIN attempt a ON a.id = s.attempt
ORDER BY s.id DESC LIMIT :limit;

-- name: normal_processes
SELECT count(*) FROM meta WHERE key >= 'normal/' AND key < 'normal0';

-- Whole tables in the order of their keys, in stretches; the first column is the key.

-- name: item_scan
SELECT * FROM item WHERE id > :after AND id <= :until ORDER BY id;

-- name: thread_scan
SELECT * FROM thread WHERE id > :after AND id <= :until ORDER BY id;

-- name: process_scan
SELECT * FROM process WHERE id > :after AND id <= :until ORDER BY id;

-- name: label_scan
SELECT * FROM label WHERE id > :after AND id <= :until ORDER BY id;

-- name: run_scan
SELECT * FROM run WHERE id > :after AND id <= :until ORDER BY id;

-- name: attempt_scan
SELECT * FROM attempt WHERE id > :after AND id <= :until ORDER BY id;

-- name: scope_scan
SELECT * FROM scope WHERE id > :after AND id <= :until ORDER BY id;

-- name: step_scan
SELECT * FROM step WHERE id > :after AND id <= :until ORDER BY id;

-- name: replay_scan
SELECT * FROM replay WHERE id > :after AND id <= :until ORDER BY id;

-- name: question_scan
SELECT * FROM question WHERE id > :after AND id <= :until ORDER BY id;

-- name: log_scan
SELECT * FROM log WHERE id > :after AND id <= :until ORDER BY id;

-- name: list_scan
SELECT * FROM list WHERE id > :after AND id <= :until ORDER BY id;

-- name: checkpoint_scan
SELECT * FROM checkpoint WHERE id > :after AND id <= :until ORDER BY id;

-- name: channel_value_scan
SELECT * FROM channel_value WHERE checkpoint > :after AND checkpoint <= :until ORDER BY checkpoint;

-- name: pending_write_scan
SELECT * FROM pending_write WHERE checkpoint > :after AND checkpoint <= :until ORDER BY checkpoint;

-- name: log_item_scan
SELECT pos, log, item FROM log_item WHERE log = :log AND pos > :after AND pos <= :until ORDER BY pos;

-- name: step_names
SELECT s.kind, s.name, s.effect, s.status, r.run_id, t.thread_id
FROM step s LEFT JOIN scope sc ON sc.id = s.scope LEFT JOIN run r ON r.id = sc.run
LEFT JOIN thread t ON t.id = r.thread WHERE s.id = :id;

-- name: checkpoint_values
SELECT count(*) FROM channel_value WHERE checkpoint = :checkpoint;

-- name: checkpoint_names
SELECT c.checkpoint_id, c.ns, t.thread_id FROM checkpoint c LEFT JOIN thread t ON t.id = c.thread
WHERE c.id = :id;

-- name: run_totals
-- What the steps of a run come to; each LLM call counts as it ends, also when it is set aside later.
SELECT count(*) AS steps, coalesce(sum(CASE s.kind WHEN 'llm' THEN 1 ELSE 0 END), 0) AS llm_calls,
       coalesce(sum(CASE s.kind WHEN 'tool' THEN 1 ELSE 0 END), 0) AS tool_calls,
       coalesce(sum(CASE s.kind WHEN 'llm' THEN s.input_tokens END), 0) AS input_tokens,
       coalesce(sum(CASE s.kind WHEN 'llm' THEN s.output_tokens END), 0) AS output_tokens,
       sum(CASE s.kind WHEN 'llm' THEN s.cost_usd END) AS cost_usd
FROM scope sc JOIN step s ON s.scope = sc.id WHERE sc.run = :run;

-- name: days_too_low
-- Days whose totals are less than those of the steps that are still there.
SELECT f.day, f.model, f.calls, f.input_tokens, f.output_tokens, f.cost_usd FROM (
    SELECT @day(s.started_at) AS day,
           coalesce(nullif(s.model, ''), 'unknown') AS model, count(*) AS calls,
           coalesce(sum(s.input_tokens), 0) AS input_tokens,
           coalesce(sum(s.output_tokens), 0) AS output_tokens, sum(s.cost_usd) AS cost_usd
    FROM step s
    WHERE s.kind = 'llm' AND s.duration_us IS NOT NULL AND s.status IN ('done', 'superseded')
    GROUP BY 1, 2) f
LEFT JOIN spend_day d ON d.day = f.day AND d.model = f.model
WHERE coalesce(d.calls, 0) < f.calls OR coalesce(d.input_tokens, 0) < f.input_tokens
   OR coalesce(d.output_tokens, 0) < f.output_tokens
   OR coalesce(d.cost_usd, 0) < coalesce(f.cost_usd, 0) * 0.999999;

-- name: steps_of_two_runs
SELECT s.id FROM step s JOIN scope sc ON sc.id = s.scope JOIN attempt a ON a.id = s.attempt
WHERE sc.run <> a.run;

-- name: runs_contradicting
SELECT r.id, CASE
    WHEN r.status = 'running' THEN 'it is running, and none of its attempts is'
    ELSE 'it is ' || r.status || ', and an attempt of it goes on' END AS says
FROM run r
WHERE (r.status = 'running') <> EXISTS (SELECT 1 FROM attempt a WHERE a.run = r.id AND a.ended_at IS NULL)
UNION ALL
SELECT r.id, 'it is ' || r.status || CASE WHEN r.ended_at IS NULL THEN ', and has no end'
                                          ELSE ', and has an end' END
FROM run r WHERE (r.status = 'running') <> (r.ended_at IS NULL);

-- name: attempts_contradicting
SELECT a.id, CASE WHEN a.ended_at IS NULL THEN 'it has an outcome and no end'
                  ELSE 'it has an end and no outcome' END AS says
FROM attempt a WHERE (a.ended_at IS NULL) <> (a.outcome IS NULL);

-- name: steps_contradicting
SELECT s.id, CASE s.status WHEN 'running' THEN 'it is running, and has a result'
                           ELSE 'it has failed, and its row says not how' END AS says
FROM step s
WHERE s.status = 'running' AND s.output IS NOT NULL OR s.status = 'failed' AND s.error IS NULL;

-- name: steps_left_running
SELECT count(*) FROM attempt a JOIN scope sc ON sc.run = a.run JOIN step s ON s.scope = sc.id
WHERE a.ended_at IS NOT NULL AND s.attempt = a.id AND s.status = 'running';

-- name: item_last
SELECT max(id) FROM item;

-- name: log_last
SELECT max(id) FROM log;

-- name: list_last
SELECT max(id) FROM list;

-- name: thread_last
SELECT max(id) FROM thread;

-- name: process_last
SELECT max(id) FROM process;

-- name: label_last
SELECT max(id) FROM label;

-- name: run_last
SELECT max(id) FROM run;

-- name: attempt_last
SELECT max(id) FROM attempt;

-- name: scope_last
SELECT max(id) FROM scope;

-- name: step_last
SELECT max(id) FROM step;

-- name: replay_last
SELECT max(id) FROM replay;

-- name: question_last
SELECT max(id) FROM question;

-- name: checkpoint_last
SELECT max(id) FROM checkpoint;

-- name: channel_value_last
SELECT max(checkpoint) FROM channel_value;

-- name: pending_write_last
SELECT max(checkpoint) FROM pending_write;

-- name: sealed_scan
-- What would be replayed, with what it was sealed with.
SELECT s.id, s.fingerprint, s.n, s.seal, s.output, i.type, i.text, i.data
FROM step s JOIN item i ON i.id = s.output
WHERE s.status = 'done' AND s.id > :after AND s.id <= :until ORDER BY s.id;
