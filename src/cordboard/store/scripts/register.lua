-- register: the heartbeat of a warm runner, with what it can take.
-- KEYS[1] the runner's record.
-- ARGV runner id, url, capacity, '1' when it takes no more sessions, then the names of its bots.
-- Returns its free slots. Those in use are counted from the sessions assigned to it, so that a slot
-- returns exactly once whatever the runner believes.
local id, url, capacity, draining = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local now = now_ms()
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'url', url, 'capacity', capacity)
for i = 5, #ARGV do redis.call('HSET', KEYS[1], 'bot:' .. ARGV[i], '1') end
redis.call('PEXPIRE', KEYS[1], T.runner_kept_ms)
redis.call('ZREMRANGEBYSCORE', K.runners, '-inf', now - T.runner_kept_ms)
if draining then
  redis.call('ZREM', K.runners, id)
  redis.call('ZREM', K.runner_free, id)
  return 0
end
local free = capacity - redis.call('SCARD', K.runner_sessions .. id)
redis.call('ZADD', K.runners, now, id)
redis.call('ZADD', K.runner_free, free, id)
redis.call('PEXPIRE', K.runner_sessions .. id, T.index_kept_ms)
return free
