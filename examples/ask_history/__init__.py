"""Ask the recorded run of an agent 30 questions, and compare the answers' tokens with its log's.

`python -m examples.ask_history`: an agent audits about 30 real files with real tools in one run of
1,000 steps, recorded by `RowtrailSaver`. Then 30 factual questions are asked, each by one query or
one search of the journal, and checked against the files and the books of the outside world. What
the answers cost together is compared with the plain log that the same run wrote.
"""
