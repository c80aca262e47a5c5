-- What only the connection of the writer has, in its temporary schema: other programs write without it.

-- name: step_counted
-- A step that no statement has counted (`run_count_step`) is counted as it is begun.
CREATE TEMP TRIGGER step_counted AFTER INSERT ON main.step
BEGIN
    UPDATE run SET steps = NEW.seq,
        llm_calls = llm_calls + (NEW.kind = 'llm'), tool_calls = tool_calls + (NEW.kind = 'tool')
    WHERE id = (SELECT a.run FROM attempt a WHERE a.id = NEW.attempt) AND steps < NEW.seq;
END;

-- name: step_result
-- A row of this is the result of a step: see `rowtrail.engine.NewResult`.
CREATE TEMP VIEW step_result AS
SELECT s.id AS step, s.attempt, s.duration_us, s.interrupts, s.seal, i.type, i.text, i.data, i.digest
FROM main.step s JOIN main.item i ON i.id = s.output;

-- name: step_completed
-- While somebody sweeps, a value that was stored before is touched, as `item_touch` does. Where somebody has decided
-- what became of the step, or others are in doubt with it, nothing is written.
CREATE TEMP TRIGGER step_completed INSTEAD OF INSERT ON step_result
BEGIN
    INSERT INTO item (digest, type, text, data) VALUES (NEW.digest, NEW.type, NEW.text, NEW.data)
    ON CONFLICT (digest) WHERE digest IS NOT NULL DO NOTHING;
    INSERT OR IGNORE INTO touched (item)
    SELECT i.id FROM item i WHERE changes() = 0 AND i.digest = NEW.digest
      AND (SELECT CAST(m.value AS INTEGER) & 1 FROM meta m WHERE m.key = 'generation') = 1;
    UPDATE step SET status = 'done', duration_us = NEW.duration_us, interrupts = NEW.interrupts, error = NULL,
        output = coalesce((SELECT i.id FROM item i WHERE i.digest = NEW.digest), last_insert_rowid()),
        seal = NEW.seal
    WHERE id = NEW.step AND attempt = NEW.attempt AND (status = 'running' OR status = 'in_doubt') AND twin IS NULL;
    SELECT RAISE(ABORT, 'decided, or in doubt with others')
    WHERE changes() = 0 OR EXISTS (SELECT 1 FROM step t WHERE t.twin = NEW.step);
END;
