-- register: write the registration of a warm runner, with each heartbeat.
--
-- KEYS[1]  the registration
-- ARGV[1]  MessagePack map:
--   runner_id, url
--   capacity     number of slots that the runner offers in this shard
--   is_draining  true: the runner takes no new sessions
--   turn         number of the registration; one with a lower number than the last changes nothing
--   bots         names of its bots
--   pod          its Kubernetes pod, as NAMESPACE/NAME; absent elsewhere
--
-- Returns {free slots, length of the launch queue, number of runners alive in this shard}.
-- Used slots are counted from the sessions that are assigned to the runner, so that each slot returns
-- exactly once. Free slots are negative if more are used than the capacity allows, which a runner
-- causes on purpose when it moves slots to another shard.
local id = args.runner_id
local now = now_ms()
write_even_when_full()
local function answer(free)
  return { free, redis.call('XLEN', K.launches),
    redis.call('ZCOUNT', K.runners, now - T.lease_ms, '+inf') }
end
local free = args.capacity - redis.call('SCARD', K.runner_sessions .. id)
if args.turn < tonumber(redis.call('HGET', KEYS[1], 'turn') or '0') then
  return answer(free)
end
local fields = { 'url', args.url, 'capacity', args.capacity, 'turn', args.turn }
for _, bot in ipairs(args.bots) do
  fields[#fields + 1] = 'bot:' .. bot
  fields[#fields + 1] = '1'
end
if args.pod then
  fields[#fields + 1] = 'pod'
  fields[#fields + 1] = args.pod
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], T.runner_kept_ms)
local gone = redis.call('ZRANGEBYSCORE', K.runners, '-inf', now - T.runner_kept_ms, 'LIMIT', 0, 100)
if #gone > 0 then
  redis.call('ZREM', K.runners, unpack(gone))
  redis.call('ZREM', K.runner_free, unpack(gone))
end
if args.is_draining then
  redis.call('ZREM', K.runners, id)
  redis.call('ZREM', K.runner_free, id)
  return { 0, 0, 0 }
end
redis.call('ZADD', K.runners, now, id)
redis.call('ZADD', K.runner_free, free, id)
redis.call('PEXPIRE', K.runner_sessions .. id, T.slots_kept_ms)
return answer(free)
