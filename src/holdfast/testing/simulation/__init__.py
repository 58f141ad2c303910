"""A whole node in simulated time, with faults, all of it drawn from one seed.

Strategy: what runs is what is shipped: the service with its producers, ticker and supervisor,
the memory engine, watch, reader and feeds, the SSE response and the demo provider. Around them
stands what a machine and the world would do: a log that fails, is late and forgets to answer
(`faulty`), a node that dies between two steps and one that comes after it (`node`), readers that
come and go (`reading`), clients that ask and cancel (`asking`), a provider that breaks off. All of
them write down what they saw (`record`), `checker` judges it, and an answer that failed has to
have a cause (`ends`). A seed decides everything: `running.run(seed)` gives the same history again,
byte for byte.
"""
