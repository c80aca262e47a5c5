-- name: item_by_digest
SELECT id FROM item WHERE digest = :digest;

-- name: item_by_id
SELECT id, type, text, data FROM item WHERE id = :id;

-- name: item_insert
INSERT INTO item (digest, type, text, data) VALUES (:digest, :type, :text, :data)
ON CONFLICT (digest) WHERE digest IS NOT NULL DO NOTHING;

-- name: log_by_owner
SELECT id FROM log WHERE owner = :owner;

-- name: log_insert
INSERT INTO log (owner) VALUES (:owner);

-- name: log_length
SELECT coalesce(max(pos) + 1, 0) FROM log_item WHERE log = :log;

-- name: log_items
SELECT pos, item FROM log_item WHERE log = :log ORDER BY pos;

-- name: log_append
INSERT INTO log_item (log, pos, item) VALUES (:log, :pos, :item);

-- name: list_newest
SELECT l.id, l.pieces FROM log JOIN list l ON l.id = log.newest WHERE log.id = :log AND l.log = :log;

-- name: log_set_newest
UPDATE log SET newest = :list WHERE id = :log;

-- name: list_insert
INSERT INTO list (log, length, pieces) VALUES (:log, :length, :pieces);

-- name: list_items
SELECT i.id, i.type, i.text, i.data
FROM list_item li JOIN item i ON i.id = li.item
WHERE li.list = :list ORDER BY li.position;
