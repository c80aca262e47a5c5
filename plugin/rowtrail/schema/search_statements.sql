-- Statements over the search index (search.sql), which apsw runs.

-- name: state_all
SELECT key, value FROM state;

-- name: state_set
INSERT INTO state (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: doc_by_digest
SELECT id FROM doc WHERE digest = :digest;

-- name: doc_insert
INSERT INTO doc (digest) VALUES (:digest) RETURNING id;

-- name: text_insert
INSERT INTO text (rowid, body) VALUES (:doc, :body);

-- name: run_note
INSERT INTO run (id, started_at, last_step, last_step_at) VALUES (:run, :started_at, :step, :at)
ON CONFLICT (id) DO UPDATE SET last_step = excluded.last_step, last_step_at = excluded.last_step_at
WHERE excluded.last_step >= last_step;

-- name: runs_known
SELECT id, started_at, last_step, last_step_at FROM run ORDER BY last_step DESC;

-- name: open_steps
SELECT step, mark FROM open_step;

-- name: open_step_note
INSERT INTO open_step (step, mark) VALUES (:step, :mark)
ON CONFLICT (step) DO UPDATE SET mark = excluded.mark;

-- name: open_step_forget
DELETE FROM open_step WHERE step = :step;

-- name: open_steps_forget_given_up
DELETE FROM open_step
WHERE step <= :before AND (mark LIKE 'failed %' OR mark LIKE 'superseded %');

-- name: spot_insert
INSERT INTO spot (doc, step, place, run, kind, at) VALUES (:doc, :step, :place, :run, :kind, :at)
ON CONFLICT DO NOTHING;

-- name: docs_of_step
SELECT DISTINCT doc FROM spot WHERE run = :run AND step = :step;

-- name: spots_of_step_delete
DELETE FROM spot WHERE run = :run AND step = :step;

-- name: spans_of_run
SELECT lo, hi FROM span WHERE run = :run AND log = :log;

-- name: spans_of_log
SELECT lo, hi FROM span WHERE log = :log;

-- name: span_insert
INSERT INTO span (run, log, lo, hi, step, at) VALUES (:run, :log, :lo, :hi, :step, :at);

-- name: log_doc_insert
INSERT INTO log_doc (log, pos, doc) VALUES (:log, :pos, :doc) ON CONFLICT DO NOTHING;

-- name: docs_of_run
SELECT doc FROM spot WHERE run = :run
UNION SELECT ld.doc FROM span s JOIN log_doc ld ON ld.log = s.log AND ld.pos >= s.lo AND ld.pos < s.hi
WHERE s.run = :run AND ld.doc <> 0;

-- name: logs_of_run
SELECT DISTINCT log FROM span WHERE run = :run;

-- name: spots_of_run_delete
DELETE FROM spot WHERE run = :run;

-- name: spans_of_run_delete
DELETE FROM span WHERE run = :run;

-- name: run_delete
DELETE FROM run WHERE id = :run;

-- name: log_docs_delete_unseen
DELETE FROM log_doc WHERE log = :log AND NOT EXISTS (
    SELECT 1 FROM span s WHERE s.log = log_doc.log AND s.lo <= log_doc.pos AND s.hi > log_doc.pos);

-- name: docs_unused
SELECT value FROM json_each(:docs)
WHERE NOT EXISTS (SELECT 1 FROM spot s WHERE s.doc = value)
  AND NOT EXISTS (SELECT 1 FROM log_doc ld WHERE ld.doc = value AND ld.doc <> 0);

-- name: text_delete
DELETE FROM text WHERE rowid = :doc;

-- name: vector_delete
DELETE FROM vector WHERE doc = :doc;

-- name: doc_delete
DELETE FROM doc WHERE id = :doc;

-- name: docs_count
SELECT count(*) FROM doc;

-- name: vectors_count
SELECT count(*) FROM vector;

-- name: docs_to_embed
SELECT d.id, t.body FROM doc d JOIN text t ON t.rowid = d.id
WHERE d.id > :after AND NOT EXISTS (SELECT 1 FROM vector v WHERE v.doc = d.id)
ORDER BY d.id LIMIT :limit;

-- name: docs_left
SELECT count(*) FROM doc WHERE id > :after;

-- name: vector_insert
INSERT INTO vector (doc, value)
SELECT :doc, :value WHERE EXISTS (SELECT 1 FROM doc WHERE id = :doc)
ON CONFLICT (doc) DO UPDATE SET value = excluded.value;

-- name: vectors_delete
DELETE FROM vector;

-- name: matches_up_to
SELECT count(*) FROM (SELECT 1 FROM text WHERE text MATCH :match LIMIT :limit);

-- name: within
-- The texts that a filter leaves; @within below stands for this.
SELECT s.doc FROM spot s
WHERE (:runs IS NULL OR s.run IN (SELECT value FROM json_each(:runs)))
  AND (:kind IS NULL OR s.kind = :kind) AND s.at >= :since
UNION ALL SELECT ld.doc
FROM span s JOIN log_doc ld ON ld.log = s.log AND ld.pos >= s.lo AND ld.pos < s.hi
WHERE (:runs IS NULL OR s.run IN (SELECT value FROM json_each(:runs)))
  AND coalesce(:kind, 'llm') = 'llm' AND s.at >= :since;

-- name: keyword_best
-- The filter comes after the ranking: the unary plus keeps its rows from being matched one by one.
SELECT rowid, -bm25(text) FROM text
WHERE text MATCH :match AND (:all OR +rowid IN (@within)) ORDER BY rank LIMIT :limit;

-- name: keyword_newest
SELECT rowid, 0.0 FROM text
WHERE text MATCH :match AND (:all OR +rowid IN (@within)) ORDER BY rowid DESC LIMIT :limit;

-- name: vectors_nearest
SELECT v.doc, vec_distance_cosine(vec_int8(v.value), vec_int8(:vector)) AS distance
FROM vector v WHERE :all OR v.doc IN (@within)
ORDER BY distance LIMIT :limit;

-- name: first_place
-- Where a text came up first, as far as the filter goes; among the questions, if nowhere else.
SELECT step, place FROM (
    SELECT s.step, s.place FROM spot s
    WHERE s.doc = :doc AND (:runs IS NULL OR s.run IN (SELECT value FROM json_each(:runs)))
      AND (:kind IS NULL OR s.kind = :kind) AND s.at >= :since
    UNION ALL SELECT s.step, 'message'
    FROM log_doc ld JOIN span s ON s.log = ld.log AND s.lo <= ld.pos AND s.hi > ld.pos
    WHERE ld.doc = :doc AND ld.doc <> 0
      AND (:runs IS NULL OR s.run IN (SELECT value FROM json_each(:runs)))
      AND coalesce(:kind, 'llm') = 'llm' AND s.at >= :since)
ORDER BY step < 0, abs(step) LIMIT 1;

-- name: snippet
SELECT snippet(text, 0, '[', ']', '…', 40) FROM text WHERE text MATCH :match AND rowid = :doc;

-- name: text_start
SELECT substr(body, 1, :chars) FROM text WHERE rowid = :doc;
