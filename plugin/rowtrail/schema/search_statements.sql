-- Statements over the search index (search.sql), which apsw runs.

-- name: tokenizer
-- @tokenizer stands for this.
'porter unicode61 remove_diacritics 0 categories ''L* M* N* S* Co'' separators ''$+<=>|~^`'''

-- name: state_all
SELECT key, value FROM state;

-- name: state_set
INSERT INTO state (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: doc_by_digest
SELECT id FROM doc WHERE digest = :digest;

-- name: doc_insert
INSERT INTO doc (digest, id) VALUES (:digest, :doc);

-- name: text_insert
INSERT INTO text (rowid, body) VALUES (:doc, :body);

-- name: text_merge
-- Merges what is to be merged, some pages at a time.
INSERT INTO text (text, rank) VALUES ('merge', :pages);

-- name: run_note
INSERT INTO run (id, started_at, last_step, last_step_at) VALUES (:run, :started_at, :step, :at)
ON CONFLICT (id) DO UPDATE SET last_step = excluded.last_step, last_step_at = excluded.last_step_at
WHERE excluded.last_step >= last_step;

-- name: runs_known
SELECT id, started_at, last_step, last_step_at FROM run ORDER BY last_step DESC;

-- name: step_note
INSERT INTO step (id, run, kind, at) VALUES (:step, :run, :kind, :at)
ON CONFLICT (id) DO UPDATE SET run = excluded.run, kind = excluded.kind, at = excluded.at;

-- name: steps_known
SELECT id FROM step WHERE id IN (SELECT value FROM json_each(:steps));

-- name: open_steps
SELECT step, mark, docs FROM open_step;

-- name: open_step_note
INSERT INTO open_step (step, mark, docs) VALUES (:step, :mark, :docs)
ON CONFLICT (step) DO UPDATE SET mark = excluded.mark, docs = excluded.docs;

-- name: open_step_forget
DELETE FROM open_step WHERE step = :step;

-- name: open_steps_forget_given_up
DELETE FROM open_step
WHERE step <= :before AND (mark LIKE 'failed %' OR mark LIKE 'superseded %');

-- name: spot_insert
INSERT INTO spot (doc, step, place) VALUES (:doc, :step, :place) ON CONFLICT DO NOTHING;

-- name: spots_of_step_delete
DELETE FROM spot WHERE doc IN (SELECT value FROM json_each(:docs)) AND step = :step;

-- name: spans_before
SELECT lo, hi FROM span WHERE run = :run AND log = :log AND step < :step;

-- name: spans_under
SELECT lo, hi, step, at FROM span WHERE run = :run AND log = :log AND lo < :hi AND hi > :lo;

-- name: spans_of_log
SELECT lo, hi FROM span WHERE log = :log;

-- name: span_insert
INSERT INTO span (run, log, lo, hi, step, at) VALUES (:run, :log, :lo, :hi, :step, :at);

-- name: span_delete
DELETE FROM span WHERE run = :run AND log = :log AND lo = :lo;

-- name: log_doc_insert
INSERT INTO log_doc (log, pos, doc) VALUES (:log, :pos, :doc) ON CONFLICT DO NOTHING;

-- name: gone
-- The runs that are forgotten; @gone stands for this.
(SELECT value FROM json_each(:runs))

-- name: docs_of_runs
SELECT doc FROM spot WHERE step IN (SELECT id FROM step WHERE run IN @gone)
UNION SELECT ld.doc FROM span s JOIN log_doc ld ON ld.log = s.log AND ld.pos >= s.lo AND ld.pos < s.hi
WHERE s.run IN @gone AND ld.doc <> 0;

-- name: logs_of_runs
SELECT DISTINCT log FROM span WHERE run IN @gone;

-- name: spots_of_runs_delete
DELETE FROM spot WHERE step IN (SELECT id FROM step WHERE run IN @gone);

-- name: steps_of_runs_delete
DELETE FROM step WHERE run IN @gone;

-- name: spans_of_runs_delete
DELETE FROM span WHERE run IN @gone;

-- name: runs_delete
DELETE FROM run WHERE id IN @gone;

-- name: log_docs_delete_unseen
DELETE FROM log_doc WHERE log = :log AND NOT EXISTS (
    SELECT 1 FROM span s WHERE s.log = log_doc.log AND s.lo <= log_doc.pos AND s.hi > log_doc.pos);

-- name: docs_unused
SELECT value FROM json_each(:docs)
WHERE NOT EXISTS (SELECT 1 FROM spot s WHERE s.doc = value)
  AND NOT EXISTS (SELECT 1 FROM log_doc ld WHERE ld.doc = value AND ld.doc <> 0);

-- name: texts_delete
DELETE FROM text WHERE rowid IN (SELECT value FROM json_each(:docs));

-- name: vectors_of_docs_delete
DELETE FROM vector WHERE doc IN (SELECT value FROM json_each(:docs));

-- name: docs_delete
-- Reads the whole table, once for all that goes: an index by id would cost a tenth of the file.
DELETE FROM doc WHERE id IN (SELECT value FROM json_each(:docs));

-- name: docs_count
SELECT count(*) FROM doc;

-- name: vectors_count
SELECT count(*) FROM vector;

-- name: docs_to_embed
SELECT t.rowid FROM text t
WHERE t.rowid > :after AND NOT EXISTS (SELECT 1 FROM vector v WHERE v.doc = t.rowid)
ORDER BY t.rowid LIMIT :limit;

-- name: docs_known
-- A text may have gone while it was embedded.
SELECT value FROM json_each(:docs) WHERE value IN (SELECT rowid FROM text);

-- name: docs_left
SELECT count(*) FROM text WHERE rowid > :after;

-- name: vector_insert
INSERT INTO vector (doc, value) VALUES (:doc, :value)
ON CONFLICT (doc) DO UPDATE SET value = excluded.value;

-- name: vectors_delete
DELETE FROM vector;

-- name: matches_up_to
SELECT count(*) FROM (SELECT 1 FROM text WHERE text MATCH :match LIMIT :limit);

-- name: within
-- The texts that a filter leaves; @within stands for this.
SELECT s.doc FROM spot s WHERE s.step IN (
    SELECT st.id FROM step st WHERE (:runs IS NULL OR st.run IN (SELECT value FROM json_each(:runs)))
      AND (:kind IS NULL OR st.kind = :kind) AND st.at BETWEEN :since AND :until)
UNION ALL SELECT ld.doc
FROM span s JOIN log_doc ld ON ld.log = s.log AND ld.pos >= s.lo AND ld.pos < s.hi
WHERE (:runs IS NULL OR s.run IN (SELECT value FROM json_each(:runs)))
  AND coalesce(:kind, 0) = 0 AND s.at BETWEEN :since AND :until

-- name: is_within
-- Whether a filter leaves a text, for some texts of many; @is_within stands for this.
(EXISTS (
    SELECT 1 FROM spot s JOIN step st ON st.id = s.step
    WHERE s.doc = text.rowid AND (:runs IS NULL OR st.run IN (SELECT value FROM json_each(:runs)))
      AND (:kind IS NULL OR st.kind = :kind) AND st.at BETWEEN :since AND :until)
 OR EXISTS (
    SELECT 1 FROM log_doc ld JOIN span s ON s.log = ld.log AND s.lo <= ld.pos AND s.hi > ld.pos
    WHERE ld.doc = text.rowid AND ld.doc <> 0
      AND (:runs IS NULL OR s.run IN (SELECT value FROM json_each(:runs)))
      AND coalesce(:kind, 0) = 0 AND s.at BETWEEN :since AND :until))

-- name: keyword_best
SELECT rowid, -bm25(text) FROM text
WHERE text MATCH :match AND (:all OR @is_within) ORDER BY rank LIMIT :limit;

-- name: keyword_newest
SELECT rowid, 0.0 FROM text
WHERE text MATCH :match AND (:all OR @is_within) ORDER BY rowid DESC LIMIT :limit;

-- name: vectors_nearest
SELECT v.doc, vec_distance_cosine(vec_int8(v.value), vec_int8(:vector)) AS distance
FROM vector v WHERE :all OR v.doc IN (@within)
ORDER BY distance LIMIT :limit;

-- name: first_place
-- Where a text came up first, as far as the filter goes; among the questions, if nowhere else.
SELECT step, place, log, pos FROM (
    SELECT s.step, s.place, NULL AS log, NULL AS pos FROM spot s JOIN step st ON st.id = s.step
    WHERE s.doc = :doc AND (:runs IS NULL OR st.run IN (SELECT value FROM json_each(:runs)))
      AND (:kind IS NULL OR st.kind = :kind) AND st.at BETWEEN :since AND :until
    UNION ALL SELECT s.step, 3, ld.log, ld.pos
    FROM log_doc ld JOIN span s ON s.log = ld.log AND s.lo <= ld.pos AND s.hi > ld.pos
    WHERE ld.doc = :doc AND ld.doc <> 0
      AND (:runs IS NULL OR s.run IN (SELECT value FROM json_each(:runs)))
      AND coalesce(:kind, 0) = 0 AND s.at BETWEEN :since AND :until)
ORDER BY step < 0, abs(step) LIMIT 1;

-- name: shown_create
-- A text that is shown, to see where in it an expression matches; in the memory of the connection.
CREATE VIRTUAL TABLE IF NOT EXISTS temp.shown USING fts5(body, tokenize = @tokenizer);

-- name: shown_insert
INSERT INTO shown (rowid, body) VALUES (1, :body);

-- name: shown_marked
SELECT highlight(shown, 0, char(1), char(2)) FROM shown WHERE shown MATCH :match;

-- name: shown_delete
DELETE FROM shown WHERE rowid = 1;

-- name: words_create
-- The words of the index, for what to try in place of one that is nowhere.
CREATE VIRTUAL TABLE IF NOT EXISTS temp.word USING fts5vocab(main, text, row);

-- name: words_like
SELECT term, doc FROM temp.word WHERE term >= :first AND term < :behind LIMIT :limit;
