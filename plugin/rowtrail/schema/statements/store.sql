-- name: meta_value
SELECT value FROM meta WHERE key = :key;

-- name: meta_set
INSERT INTO meta (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: meta_delete
DELETE FROM meta WHERE key = :key;

-- name: process_insert
INSERT INTO process (pid, pid_start, boot_id, pid_space, host, last_seen_at)
VALUES (:pid, :pid_start, :boot_id, :pid_space, :host, :now);

-- name: process_beat
UPDATE process SET last_seen_at = :now
WHERE id = :id AND EXISTS (SELECT 1 FROM attempt WHERE process = :id AND (ended_at IS NULL OR left_open = 1));

-- name: process_forget
DELETE FROM process
WHERE id = :id AND NOT EXISTS (SELECT 1 FROM attempt WHERE process = :id);

-- name: silences
-- What was seen of processes whose heartbeat lies in the future.
SELECT key, value FROM meta WHERE key >= 'silent/' AND key < 'silent0';

-- name: silences_forget
-- Forgets them once such a process has nothing open.
DELETE FROM meta WHERE key >= 'silent/' AND key < 'silent0'
  AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.ended_at IS NULL AND 'silent/' || a.process = meta.key);
