-- The text for people of a JSON value, for which @item stands: one expression, no statement of its own.
-- Of a message, its text, joined without a blank where it is in blocks (providers cut it anywhere); '' where it
-- has none. Other text is itself, any other JSON is shown whole. @text_blocks: the types of blocks that are text.
-- The same in Python: rowtrail.vocabulary.text_of.
CASE json_type(@item)
    WHEN 'text' THEN json_extract(@item, '$')
    WHEN 'object' THEN CASE json_type(@item, '$.content')
        WHEN 'text' THEN json_extract(@item, '$.content')
        WHEN 'array' THEN coalesce((
            SELECT group_concat(CASE block.type
                WHEN 'text' THEN block.value
                WHEN 'object' THEN CASE
                    WHEN coalesce(json_extract(block.value, '$.type'), 'text') IN (@text_blocks)
                     AND json_type(block.value, '$.text') = 'text' THEN json_extract(block.value, '$.text') END END, '')
            FROM json_each(@item, '$.content') AS block), '')
        ELSE coalesce(json_extract(@item, '$.content'),
                      CASE json_type(@item, '$.role') WHEN 'text' THEN '' ELSE @item END) END
    ELSE @item END
