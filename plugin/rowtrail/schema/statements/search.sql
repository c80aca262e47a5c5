-- What the search index reads of the journal. It follows steps by their ids (the primary key), so that
-- no index of the journal serves it alone. Questions have the numbers below zero: -1 is the first one.

-- name: search_newest_step
SELECT max(id) FROM step;

-- name: search_newest_between
SELECT id FROM step WHERE id BETWEEN :lo AND :hi ORDER BY id DESC LIMIT :limit;

-- name: search_oldest_between
SELECT id FROM step WHERE id BETWEEN :lo AND :hi ORDER BY id LIMIT :limit;

-- name: search_steps_of_runs
SELECT s.id FROM scope sc JOIN step s ON s.scope = sc.id
WHERE sc.run IN (@each(:runs)) ORDER BY s.id DESC LIMIT :limit;

-- name: search_newest_question
SELECT max(id) FROM question;

-- name: search_questions_after
-- Not those about a step in doubt: what became of it is a result of the step.
SELECT id FROM question WHERE id > :after AND run IS NOT NULL AND kind <> 'in_doubt' ORDER BY id LIMIT :limit;

-- name: search_marks
-- How steps and questions look, to see which of them changed.
SELECT s.id, sc.run, s.started_at AS at,
       s.status || ' ' || coalesce(s.output, 0) || ' ' || coalesce(s.duration_us, -1) AS mark
FROM step s JOIN scope sc ON sc.id = s.scope
WHERE s.id IN (@each(:steps))
UNION ALL
SELECT -q.id, q.run, q.asked_at, coalesce(q.answered_at, 'open') || ' ' || q.asked_at
FROM question q WHERE q.id IN (@negated(:steps));

-- name: search_questions
SELECT -q.id AS id, q.run, r.started_at AS run_started_at, q.asked_at AS at, q.question, q.answer,
       q.answered_at IS NULL AS is_open, coalesce(q.answered_at, 'open') || ' ' || q.asked_at AS mark
FROM question q JOIN run r ON r.id = q.run
WHERE q.id IN (@negated(:steps)) ORDER BY q.id;

-- name: questions_of_run
SELECT id FROM question WHERE run = :run AND kind <> 'in_doubt';

-- name: search_steps
SELECT s.id, sc.run, r.started_at AS run_started_at, s.kind, s.status, s.started_at AS at,
       s.duration_us IS NULL AS is_unended,
       s.status || ' ' || coalesce(s.output, 0) || ' ' || coalesce(s.duration_us, -1) AS mark,
       s.error, l.log, l.pieces,
       CASE WHEN s.prompt IS NULL THEN coalesce(s.arguments, i.text) END AS arguments, s.output, o.text AS result
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
LEFT JOIN list l ON l.id = s.prompt LEFT JOIN item i ON i.id = s.input LEFT JOIN item o ON o.id = s.output
WHERE s.id IN (@each(:steps)) ORDER BY s.id;

-- name: search_messages
SELECT li.pos, i.text FROM log_item li JOIN item i ON i.id = li.item
WHERE li.log = :log AND li.pos >= :lo AND li.pos < :hi;

-- name: search_runs
SELECT id, started_at FROM run;

-- name: search_run_rows
SELECT r.id FROM run r LEFT JOIN thread t ON t.id = r.thread
WHERE (:run_id IS NULL OR r.run_id = :run_id) AND (:thread_id IS NULL OR t.thread_id = :thread_id);

-- name: search_found
SELECT s.id, CAST(s.id AS TEXT) AS step_id, r.run_id, t.thread_id, coalesce(sc.agent, r.agent) AS agent,
       sc.node, s.kind, s.name, s.started_at AS at
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
LEFT JOIN thread t ON t.id = r.thread
WHERE s.id IN (@each(:steps))
UNION ALL
SELECT -q.id, CAST(q.step AS TEXT), r.run_id, t.thread_id, coalesce(sc.agent, r.agent), sc.node,
       'question', q.kind, q.asked_at
FROM question q JOIN run r ON r.id = q.run LEFT JOIN thread t ON t.id = r.thread
LEFT JOIN scope sc ON sc.id = q.scope
WHERE q.id IN (@negated(:steps));
