"""What runs inside Redis: every change to a stream is one of these, so it is atomic.

Strategy: a stream is a hash beside its entries, and the hash says all that a verdict needs, so no
script reads an entry to decide. The rules are those of `eventlog.streams`, which is the same
machine in memory. Numbers are compared as numbers below 2^53 (sequence numbers, times) or as
strings (epochs), since Lua knows no whole numbers beyond. Commands are those of Redis 7.0.

The hash of a stream:

    header    packed, without the request       request   packed, until the stream ends
    key       the stream's data key, wrapped; a plain stream has none
    owner, created                              in clear, of what was made by this version on
    epoch, seq                                  of the last event
    first     the seq of the first event of the present life
    runs      `epoch:first` of every life, the oldest first, with commas
    holder    the life of the node that writes it
    said      1 once there is a chunk           cancelled   1 once that is asked for
    ended, status                               the time of the end, and how it ended
    expired   of a tombstone, which has nothing else but its owner
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


class Script:
    """One script. `call` makes the command that runs it; it must be loaded before."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def call(
        self, keys: Iterable[bytes], *values: bytes | str | int
    ) -> tuple[bytes | str | int, ...]:
        some = tuple(keys)
        return ("EVALSHA", self.sha, len(some), *some, *values)


# KEYS: hash, entries. ARGV: epoch, last, ts, said, status, block, header, request, holder, owner,
# the time of creation, key or nothing. Answers {1} for a new stream, {0, header, request, holder,
# the time of its end, owner, key} for one that is there, {-1} for a tombstone.
CREATE = Script(
    """
local had = redis.call('HMGET', KEYS[1], 'header', 'request', 'expired', 'holder', 'ended',
  'owner', 'key')
if had[3] then return {-1} end
if had[1] then
  return {0, had[1], had[2] or '', had[4], had[5] or '', had[6] or '', had[7] or ''}
end
redis.call('DEL', KEYS[2])
if ARGV[2] ~= '0' then
  redis.call('XADD', KEYS[2], ARGV[1] .. '-' .. ARGV[2], 'b', ARGV[6])
end
redis.call('HSET', KEYS[1], 'header', ARGV[7], 'epoch', ARGV[1], 'seq', ARGV[2], 'first', '1',
  'runs', ARGV[1] .. ':1', 'holder', ARGV[9], 'owner', ARGV[10], 'created', ARGV[11])
if ARGV[12] ~= '' then redis.call('HSET', KEYS[1], 'key', ARGV[12]) end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'said', '1') end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'ended', ARGV[3], 'status', ARGV[5])
elseif ARGV[8] ~= '' then
  redis.call('HSET', KEYS[1], 'request', ARGV[8])
end
return {1}
"""
)

# KEYS: hash and entries of each batch. ARGV: epoch, last, count, ts, said, status, block of each;
# then a channel and a message, again and again. Answers a number a batch: below.
APPEND = Script(
    """
local out = {}
for i = 1, #KEYS / 2 do
  local hash, a = KEYS[2 * i - 1], 7 * (i - 1)
  local is = redis.call('HMGET', hash, 'epoch', 'seq', 'ended', 'first', 'cancelled')
  local verdict = -3
  if is[1] == ARGV[a + 1] then
    local seq, last, count = tonumber(is[2]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
    if last - count == seq and not is[3] then
      if count > 0 then
        redis.call('XADD', KEYS[2 * i], ARGV[a + 1] .. '-' .. ARGV[a + 2], 'b', ARGV[a + 7])
        redis.call('HSET', hash, 'seq', ARGV[a + 2])
        if ARGV[a + 5] ~= '' then redis.call('HSET', hash, 'said', '1') end
        if ARGV[a + 6] ~= '' then
          redis.call('HSET', hash, 'ended', ARGV[a + 4], 'status', ARGV[a + 6])
          redis.call('HDEL', hash, 'request')
        end
      end
      verdict = -1
    elseif last > seq then
      if not is[3] then verdict = seq end
    elseif last - count + 1 >= tonumber(is[4]) then
      verdict = -1
    end
    if verdict == -1 and is[5] then verdict = -2 end
  elseif not is[1] then
    verdict = -4
  end
  out[i] = verdict
end
for i = 7 * #KEYS / 2 + 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end
return out
"""
)
OK, OK_CANCELLED, FENCED, NOT_THERE = -1, -2, -3, -4
"""Verdicts of `APPEND`; any other is the last seq that is there, behind a gap."""

# KEYS: hash, entries. ARGV: the epoch and seq that the caller knows, the new epoch, ts, block,
# holder, channel, message. Answers 1 for the new life, 0 where there is nothing to claim, 2 where
# the stream has moved on.
CLAIM = Script(
    """
local is = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'ended', 'runs')
if not is[1] or is[3] then return 0 end
if is[1] ~= ARGV[1] or is[2] ~= ARGV[2] then return 2 end
local seq = string.format('%.0f', tonumber(is[2]) + 1)
redis.call('XADD', KEYS[2], ARGV[3] .. '-' .. seq, 'b', ARGV[5])
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'seq', seq, 'first', seq, 'holder', ARGV[6],
  'runs', is[4] .. ',' .. ARGV[3] .. ':' .. seq)
redis.call('PUBLISH', ARGV[7], ARGV[8])
return 1
"""
)

# KEYS: hash. ARGV: channel, message. Answers 1 where the stream is open.
CANCEL = Script(
    """
local is = redis.call('HMGET', KEYS[1], 'epoch', 'ended')
if not is[1] or is[2] then return 0 end
redis.call('HSET', KEYS[1], 'cancelled', '1')
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
"""
)

# KEYS: hash, entries. ARGV: the id after which to begin, entries and bytes at most. Answers runs,
# seq, ended, owner, key and the entries, each as its id and its block; nothing where there is no
# stream. Where a closed stream has nothing more, its last entry all the same: whoever is told that
# it is closed shall see its end.
READ = Script(
    """
local is = redis.call('HMGET', KEYS[1], 'runs', 'seq', 'ended', 'owner', 'key')
if not is[1] then return false end
local out = {is[1], is[2], is[3] or '', is[4] or '', is[5] or ''}
local from, left, size = ARGV[1], tonumber(ARGV[2]), 0
while left > 0 and size < tonumber(ARGV[3]) do
  local asked = math.min(left, 16)
  local some = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', asked)
  for _, entry in ipairs(some) do
    out[#out + 1] = entry[1]
    out[#out + 1] = entry[2][2]
    size = size + #entry[2][2]
    if size >= tonumber(ARGV[3]) then return out end
  end
  if #some < asked then break end
  left = left - asked
  from = '(' .. some[#some][1]
end
if is[3] and #out == 5 then
  local some = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  if some[1] then
    out[6] = some[1][1]
    out[7] = some[1][2][2]
  end
end
return out
"""
)

# KEYS: hash, entries. ARGV: the time before which it must have ended, now, the owner, how long
# the tombstone stays (ms), 1 where it may be open too. Answers 1 where the stream is gone now.
EXPIRE = Script(
    """
local ended = redis.call('HGET', KEYS[1], 'ended')
if not ended and (ARGV[5] == '0' or redis.call('EXISTS', KEYS[1]) == 0) then return 0 end
if ended and tonumber(ended) >= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'expired', ARGV[2], 'owner', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""
)

# KEYS: guards. ARGV: id, guard. Puts the first one; answers all.
GUARD = Script(
    """
if redis.call('HLEN', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return redis.call('HGETALL', KEYS[1])
"""
)

# KEYS: store. ARGV: the secret that the caller knows, nothing for none; the one that takes its
# place; the layout's version from then on; a note (`cleaning`), or nothing.
# Answers the one that is there.
SECRET = Script(
    """
local is = redis.call('HGET', KEYS[1], 'secret') or ''
if is ~= ARGV[1] then return is end
redis.call('HSET', KEYS[1], 'secret', ARGV[2], 'version', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'unclean', ARGV[4]) end
return ARGV[2]
"""
)

# KEYS: store. ARGV: the note that the caller knows, which goes.
CLEAN = Script(
    """
if redis.call('HGET', KEYS[1], 'unclean') == ARGV[1] then redis.call('HDEL', KEYS[1], 'unclean') end
return 1
"""
)

# KEYS: hash. ARGV: the key that the caller knows, and the same one wrapped by another. Answers 1
# where it was put.
REWRAP = Script(
    """
if redis.call('HGET', KEYS[1], 'key') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'key', ARGV[2])
return 1
"""
)

# KEYS: sealed entries so far. ARGV: how long they stay (ms), then ids and blocks of the next ones.
STAGE = Script(
    """
for i = 2, #ARGV, 2 do redis.call('XADD', KEYS[1], ARGV[i], 'b', ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
)

# KEYS: hash, entries, the sealed ones. ARGV: the epoch and seq that the caller knows, header,
# owner, the time of creation, key. Answers 1 where the stream is sealed now, and was the same until
# then. HSET comes first: where there is no room it is refused, and nothing is changed.
SEAL = Script(
    """
local is = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'ended', 'key')
if is[1] ~= ARGV[1] or is[2] ~= ARGV[2] or not is[3] or is[4]
    or redis.call('XLEN', KEYS[2]) ~= redis.call('XLEN', KEYS[3])
    or redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('DEL', KEYS[3])
  return 0
end
redis.call('HSET', KEYS[1], 'header', ARGV[3], 'owner', ARGV[4], 'created', ARGV[5], 'key', ARGV[6])
redis.call('RENAME', KEYS[3], KEYS[2])
redis.call('PERSIST', KEYS[2])
return 1
"""
)

# KEYS: ended, archived. ARGV: now, ids. Those that are archived may expire from their end on, or
# from now on where their end is not listed (any more). ZREM comes first: a server without room
# takes it, and what follows it.
ACKNOWLEDGE = Script(
    """
for i = 2, #ARGV do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('ZADD', KEYS[2], 'NX', at or ARGV[1], ARGV[i])
end
return #ARGV - 1
"""
)

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: the lease, lives, the streams that the caller holds. ARGV: the life's name, the lease in ms.
# A lease is since when it is held without a break, in ms of this server's clock. Answers how many
# streams the caller holds, 0 where its lease was gone. PEXPIRE comes first: a server without room
# takes it, and what follows it.
RENEW = Script(
    _NOW
    + """
local held = tonumber(redis.call('GET', KEYS[1]) or '')
if held then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], string.format('%.0f', now), 'PX', ARGV[2])
end
redis.call('SADD', KEYS[2], ARGV[1])
return held and redis.call('SCARD', KEYS[3]) or 0
"""
)

# KEYS: lives, the caller's lease, the streams that it holds. ARGV: its life, streams at most, the
# common beginning of the keys, the lease in ms. Beside leases that were given back, those that have
# expired count, where its own has not for as long: else Redis was away, or has forgotten leases,
# and who is there has had no time to say so. Answers the streams that are the caller's from now on.
# SADD comes first, which changes nothing: a server that takes no event refuses it, so a node that
# writes nothing knows of that.
TAKE = Script(
    _NOW
    + """
redis.call('SADD', KEYS[1], ARGV[1])
local found, left = {}, tonumber(ARGV[2])
local since = tonumber(redis.call('GET', KEYS[2]) or '')
local all = since and now - since >= tonumber(ARGV[4])
for _, life in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local lease = redis.call('GET', ARGV[3] .. 'life:' .. life)
  if life ~= ARGV[1] and (lease == 'over' or (not lease and all)) and left > 0 then
    local held = ARGV[3] .. 'held:' .. life
    for _, id in ipairs(redis.call('SPOP', held, left)) do
      redis.call('SADD', KEYS[3], id)
      found[#found + 1] = id
      left = left - 1
    end
    if redis.call('EXISTS', held) == 0 then
      redis.call('SREM', KEYS[1], life)
      redis.call('DEL', ARGV[3] .. 'life:' .. life)
    end
  end
end
return found
"""
)

# KEYS: the names of a call, each once, then the order of ends. ARGV: now, slots to look at, the
# number of changes; for each the index of its name, slot, amount, until. Answers, for each name,
# slots and sums in turn. Times are compared as decimal numbers of any length.
COUNT = Script(
    """
local function later(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end
local now, ends, most = ARGV[1], KEYS[#KEYS], '9223372036854775807'
for i = 0, tonumber(ARGV[3]) - 1 do
  local a = 4 + 4 * i
  local name, slot, amount, till = KEYS[tonumber(ARGV[a])], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]
  local had = redis.call('HGET', name, 'u' .. slot)
  if had and not later(had, now) then redis.call('HDEL', name, slot) end
  local sum = redis.pcall('HINCRBY', name, slot, amount)
  if type(sum) == 'table' and sum.err then
    local edge = most
    if string.sub(amount, 1, 1) == '-' then edge = '-' .. most end
    redis.call('HSET', name, slot, edge)
  elseif redis.call('HGET', name, slot) == '-9223372036854775808' then
    redis.call('HSET', name, slot, '-' .. most)
  end
  if not had or later(till, had) then
    redis.call('HSET', name, 'u' .. slot, till)
    redis.call('ZADD', ends, till, slot .. ' ' .. name)
  end
end
for _, end_ in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local slot, name = string.match(end_, '^(%d+) (.*)$')
  local till = redis.call('HGET', name, 'u' .. slot)
  if not till or not later(till, now) then
    redis.call('HDEL', name, slot, 'u' .. slot)
    redis.call('ZREM', ends, end_)
  end
end
local out = {}
for i = 1, #KEYS - 1 do
  local all, kept = redis.call('HGETALL', KEYS[i]), {}
  local sums, tills = {}, {}
  for j = 1, #all, 2 do
    if string.sub(all[j], 1, 1) == 'u' then tills[string.sub(all[j], 2)] = all[j + 1]
    else sums[all[j]] = all[j + 1] end
  end
  for slot, sum in pairs(sums) do
    if tills[slot] and later(tills[slot], now) then
      kept[#kept + 1] = slot
      kept[#kept + 1] = sum
    end
  end
  out[i] = kept
end
return out
"""
)

ALL = (
    *(CREATE, APPEND, CLAIM, CANCEL, READ, EXPIRE, ACKNOWLEDGE, RENEW, TAKE, COUNT),
    *(GUARD, SECRET, CLEAN, REWRAP, STAGE, SEAL),
)
