"""Leases blocks of upstreams' slots from Redis, so that the fleet keeps to `max_in_flight` (architecture.md §4)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from apps.observability.outage import Outage

# Often enough that slots nobody needs are elsewhere within two seconds; a round of 4 processes with 4 upstreams costs
# Redis 0.1 ms and the process 0.2 ms.
RENEW_SECONDS = 1.0

# A whole round, connecting included: a Redis on the same network that takes longer is as good as away.
ROUND_SECONDS = 1.0

# One round that hangs and the pause before the next one fit in, so who lives is never taken for dead because of a
# single lost round; not longer, because a dead process' slots idle and a fleet warms up for this long.
TTL_SECONDS = 3.0

# Between rounds that somebody hurries: 20 a second at most.
HURRY_SECONDS = 0.05

# How long a process keeps a slot that does not divide: long beside the second in which it changes hands.
TURN_SECONDS = 10.0


class Demand(NamedTuple):
    """What a process has to do at one upstream: slots it could use now (`in_flight` included), requests in flight."""

    wanted: int
    in_flight: int


# KEYS: one hash per upstream. ARGV: process, its round, TTL and turn in ms, then for each key: cap, wanted, share (the
# last grant the process has seen), in flight. Answers one grant per key.
#
# A hash has `born` (ms) and per process "held wanted expires round extra since" (times in ms of Redis' own clock).
# `held` is what the process may have in flight until it reports again: all that it had or was granted, whether or not
# it has seen the answer. So the sum of `held` is the hard bound, and slots change hands only after the holder said so.
SCRIPT = """
local me, round = ARGV[1], tonumber(ARGV[2])
local ttl, turn = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function read(key)  -- the living processes; the expired ones are dropped
  local living, count = {}, 0
  local hash = redis.call('HGETALL', key)
  for i = 1, #hash, 2 do
    local held, wanted, expires, seen, extra, since = hash[i + 1]:match('^(%d+) (%d+) (%d+) (%d+) (%d) (%d+)$')
    if held and tonumber(expires) > now then
      living[hash[i]] = {id = hash[i], held = tonumber(held), wanted = tonumber(wanted), round = tonumber(seen),
                         extra = extra == '1', since = tonumber(since)}
      count = count + 1
    elseif held then
      redis.call('HDEL', key, hash[i])
    end
  end
  return living, count
end

-- Who gets a slot that does not divide: who has one and whose turn is not over, then who waits longest for one, then
-- those whose turn is over.
local function rank(it)
  if not it.extra then return 1 end
  return now - it.since < turn and 0 or 2
end

local function before(a, b)
  local x, y = rank(a), rank(b)
  if x ~= y then return x < y end
  if a.since ~= b.since then return a.since < b.since end
  return a.id < b.id
end

-- What this process shall have of `cap`: max-min fair, so nobody has less than he wants while another has more than
-- one slot more. And what everybody gets of it at least if he wants more.
local function target(cap, mine, living)
  local all, open, left = {}, {}, cap
  for _, it in pairs(living) do all[#all + 1] = it end
  table.sort(all, function(a, b) return a.wanted < b.wanted end)
  local level = 0
  for i, it in ipairs(all) do
    level = math.floor(left / (#all - i + 1))
    if it.wanted > level then
      for j = i, #all do open[#open + 1] = all[j] end
      break
    end
    left = left - it.wanted
  end
  if mine.wanted <= level then
    if #open > 0 then return mine.wanted, math.huge end
    return mine.wanted + math.floor(left / #all), math.huge  -- what nobody wants is a reserve for all
  end
  table.sort(open, before)
  for i = 1, left - level * #open do
    if open[i] == mine then return level + 1, level end
  end
  return level, level
end

local grants = {}
for i, key in ipairs(KEYS) do
  local at = 4 * i
  local cap, wanted = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local share, in_flight = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local living, count = read(key)
  local mine = living[me] or {id = me, round = 0, extra = false, since = now}
  if mine.round >= round then return redis.error_reply('ERR a later round was here first') end
  local born = tonumber(redis.call('HGET', key, 'born') or now)
  if count == 0 then born = now end
  mine.wanted, living[me] = wanted, mine
  local others = 0
  for id, it in pairs(living) do if id ~= me then others = others + it.held end end

  local grant, level = target(cap, mine, living)
  if now >= born and now - born < ttl then grant = math.min(grant, share) end  -- not all who live may be known yet
  grant = math.max(0, math.min(grant, cap - others))
  local extra = grant > level
  if extra ~= mine.extra or level == math.huge then mine.since = now end
  local held = math.max(grant, share, in_flight)
  redis.call('HSET', key, 'born', string.format('%.0f', born), me, string.format('%.0f %.0f %.0f %.0f %d %.0f',
             held, wanted, now + ttl, round, extra and 1 or 0, mine.since))
  redis.call('PEXPIRE', key, ttl)
  grants[i] = grant
end
return grants
"""


class _Lease:
    """The block of one upstream that this process has."""

    def __init__(self, cap: int, demand: Callable[[], Demand], grant: Callable[[int], None]) -> None:
        self.cap = cap
        self.demand = demand
        self.share = 0
        self.is_refused = False  # asking again before the next round would bring nothing
        self._grant = grant

    def take(self, slots: int) -> None:
        if slots != self.share:
            self.share = slots
            self._grant(slots)


class SlotBlocks:
    """The blocks of one process, for all its upstreams: one call to Redis a second, none per line.

    Every method must be called on the event loop's thread; `grant(n)` is called there too: from now on at most n
    requests may be in flight; if there are more, nothing new may be sent until they are fewer. It begins with none.
    `process_id` must be new with each start of a process.

    As long as Redis lives and processes run, no upstream gets more than its `cap` from the whole fleet:

    1. A process reports what it wants, what it was granted and what it has in flight; Redis notes the most that may be
       in flight from it until its next report. A grant is never more than what is left of the cap by these notes.
    2. Told to shrink, a process reports at once that it did; what is still in flight remains noted until it ended.
    3. Who has not reported for TTL_SECONDS is dead, and its block is free.
    4. If nobody is known (Redis was emptied, or no process could reach it), nobody may have more than it has for
       TTL_SECONDS, in which all who live report. A fleet that starts waits as long, once.
    5. A process whose connection was lost takes no more than it has for TTL_SECONDS: the Redis behind the new one may
       be a restored or a replica that has forgotten the last second.

    While Redis is away everybody keeps the last share. That is safe if it is away for all; a process that it is away
    for alone, or that was frozen for TTL_SECONDS, may use a block that others were given meanwhile.

    Shares are max-min fair. What nobody wants is divided evenly, so that the first lines of a batch need not wait for
    a round. Slots that do not divide go around: every TURN_SECONDS to who has waited longest, so with fewer slots than
    processes each has its turn.
    """

    def __init__(self, redis_url: str, process_id: str) -> None:
        self._url = redis_url
        self._process_id = process_id
        self._leases: dict[str, _Lease] = {}
        self._left: set[str] = set()
        self._round = 0
        self._has_reported = False
        self._careful_until = 0.0
        self._hurried = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None
        self._outage = Outage("blocks of slots in Redis")

    def register(self, name: str, cap: int, demand: Callable[[], Demand], grant: Callable[[int], None]) -> None:
        """Lease slots of upstream `name`, of which the whole fleet may use `cap`, until `unregister`."""
        if name in self._leases:
            raise ValueError(f"slots of {name} are leased already")
        self._leases[name] = _Lease(cap, demand, grant)
        self._left.discard(name)
        self._hurried.set()

    def unregister(self, name: str) -> None:
        """Give the block back, with the next round. Nothing may be in flight any more; `grant` is not called again."""
        del self._leases[name]
        self._left.add(name)
        self._hurried.set()

    def resize(self, name: str, cap: int) -> None:
        """The upstream's `max_in_flight` has changed."""
        lease = self._leases[name]
        lease.cap = cap
        lease.take(min(lease.share, cap))
        self._hurried.set()

    def hurry(self, name: str) -> None:
        """Demand rose above the grant: ask now. May be called for every line; it costs next to nothing.

        Does nothing if the last round granted less than was wanted: what others give back is seen in the next one.
        """
        lease = self._leases.get(name)
        if lease is not None and not lease.is_refused:
            self._hurried.set()

    def start(self) -> None:
        """Begin to renew, as a task on the running loop; nothing happens if it has begun."""
        if self._renewing is None:
            self._hurried = asyncio.Event()
            self._renewing = asyncio.create_task(self._renew_until_cancelled())

    async def close(self) -> None:
        """Give every block back and stop. Call it when nothing is in flight any more. Raises nothing of its own."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def _renew_until_cancelled(self) -> None:
        loop = asyncio.get_running_loop()
        redis, me = self._connection(), cast(asyncio.Task[None], asyncio.current_task())
        try:
            while True:
                next_round = loop.time() + RENEW_SECONDS
                self._hurried.clear()
                await self._renew(redis)
                if me.cancelling():  # redis-py 8.1 swallows a cancellation now and then, and the loop would wait for us
                    break
                await asyncio.sleep(HURRY_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(next_round):
                        await self._hurried.wait()
        finally:
            await self._give_all_back(redis)

    def _connection(self) -> Redis:
        # No retries: the next round is one, with fresh numbers.
        return Redis.from_url(
            self._url,
            single_connection_client=True,
            socket_connect_timeout=ROUND_SECONDS,
            socket_timeout=ROUND_SECONDS,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._on_connect,
        )

    async def _on_connect(self, connection: Any) -> None:
        if self._has_reported:
            self._careful_until = asyncio.get_running_loop().time() + TTL_SECONDS
        await connection.on_connect()

    async def _renew(self, redis: Redis) -> None:
        leases = dict(self._leases)
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await self._give_back(redis, self._left)
                if leases:
                    await self._report(redis, leases)
        except Exception:  # whatever it is, renewing must go on
            self._outage.failed()
            for lease in leases.values():
                lease.is_refused = True
        else:
            self._outage.worked()

    async def _report(self, redis: Redis, leases: dict[str, _Lease]) -> None:
        self._round += 1
        argv: list[str | int] = [self._process_id, self._round, _ms(TTL_SECONDS), _ms(TURN_SECONDS)]
        demands = [lease.demand() for lease in leases.values()]
        for lease, demand in zip(leases.values(), demands, strict=True):
            argv += [lease.cap, demand.wanted, lease.share, demand.in_flight]
        script = redis.register_script(SCRIPT)
        grants = cast(list[int], await script(keys=[_key(name) for name in leases], args=argv))
        self._has_reported = True
        for (name, lease), demand, grant in zip(leases.items(), demands, grants, strict=True):
            if self._leases.get(name) is lease:
                self._take(lease, demand, grant)

    def _take(self, lease: _Lease, demand: Demand, grant: int) -> None:
        is_careful = asyncio.get_running_loop().time() < self._careful_until
        slots = min(grant, lease.share) if is_careful else grant
        lease.is_refused = slots < demand.wanted
        if slots < lease.share and slots <= demand.wanted:
            self._hurried.set()  # others wait for what this process gives up, and it counts once it has said so
        lease.take(slots)

    async def _give_back(self, redis: Redis, names: set[str]) -> None:
        for name in tuple(names):
            await redis.hdel(_key(name), self._process_id)
            names.discard(name)

    async def _give_all_back(self, redis: Redis) -> None:
        for lease in self._leases.values():
            lease.take(0)
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await self._give_back(redis, self._left | self._leases.keys())
        except Exception:
            self._outage.failed()  # the blocks expire
        finally:
            await redis.aclose()


def _key(name: str) -> str:
    return f"slots:{name}"


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
