"""rowtrail for the openai and anthropic SDKs without a framework: `recorded(client, journal)`.

    client = recorded(OpenAI(), journal)
    with journal.run("report-42"):
        client.chat.completions.create(...)   # given again after a crash, it is handed back

Recorded and replayed, for sync and async clients, those for Azure among them: OpenAI's chat
completions and responses and Anthropic's messages, whole or streamed, by whichever method of the
SDK (`create`, `parse`, `stream`, `with_raw_response`, `with_streaming_response`, `beta`). A replay
gives the SDK the body that the provider sent, byte for byte, so it parses what it parsed before.
Each request that is sent is a step: those that the SDK makes again after a status of 400 or more,
a time-out or a lost connection are steps that failed. The request counts as it is sent, with its
address; of its headers count those that choose a version of the API, and the ones that are named.
Not recorded: every other endpoint (embeddings, files, images, audio, batches, counting of tokens,
what is fetched of a background response), realtime connections, what tools do that the provider
runs inside a call, and the tools of the program: put `@rowtrail.step(kind="tool")` on them. Outside
a run of this journal the client is as it was, and says so once in the log.
"""

from rowtrail_clients._clients import recorded

__all__ = ["recorded"]
