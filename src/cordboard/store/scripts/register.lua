-- register: the heartbeat of a warm runner, with what it can take.
-- KEYS[1] the runner's record.
-- ARGV runner id, url, capacity, '1' when it takes no more sessions, which of its offers this is (a
--      late one changes nothing), then the names of its bots.
-- Returns {its free slots, entries of the launch queue, runners alive here}. Slots in use are counted from the sessions
-- assigned to it, so that a slot returns exactly once whatever the runner believes. Fewer than 0 are
-- free when more are in use than its capacity, which a runner that moves slots lowers on purpose.
local id, url, capacity, draining = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local turn = tonumber(ARGV[5])
local now = now_ms()
write_even_when_full()
local function answer(free)
  return { free, redis.call('XLEN', K.launches),
    redis.call('ZCOUNT', K.runners, now - T.lease_ms, '+inf') }
end
local free = capacity - redis.call('SCARD', K.runner_sessions .. id)
if turn < tonumber(redis.call('HGET', KEYS[1], 'turn') or '0') then
  return answer(free)
end
local fields = { 'url', url, 'capacity', capacity, 'turn', turn }
for i = 6, #ARGV do
  fields[#fields + 1] = 'bot:' .. ARGV[i]
  fields[#fields + 1] = '1'
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], T.runner_kept_ms)
local gone = redis.call('ZRANGEBYSCORE', K.runners, '-inf', now - T.runner_kept_ms, 'LIMIT', 0, 100)
if #gone > 0 then
  redis.call('ZREM', K.runners, unpack(gone))
  redis.call('ZREM', K.runner_free, unpack(gone))
end
if draining then
  redis.call('ZREM', K.runners, id)
  redis.call('ZREM', K.runner_free, id)
  return { 0, 0, 0 }
end
redis.call('ZADD', K.runners, now, id)
redis.call('ZADD', K.runner_free, free, id)
redis.call('PEXPIRE', K.runner_sessions .. id, T.slots_kept_ms)
return answer(free)
