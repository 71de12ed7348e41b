-- agree: compare the settings of one process with those of the running processes.
--
-- KEYS[1]  the agreed settings
-- ARGV[1]  MessagePack map:
--   process      name of the process
--   lease_ms     time after which a process that does not renew no longer counts as running
--   kept_ms      time for which the agreed settings are kept
--   replaces     true: overwrite the settings of processes that have all ended
--   settings     the settings of the process by name
--
-- Returns {'agreed'}
--      | {'differs', {name, value of the others, ...}, {names of up to three running processes}}
--      | {'left', {name, value of the others, ...}}: they differ, but no process runs with them.
write_even_when_full()
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', K.parts, '-inf', now)
local differing, pairs_to_write = {}, {}
for name, value in pairs(args.settings) do
  local known = redis.call('HGET', KEYS[1], name)
  if known and known ~= value then
    differing[#differing + 1] = name
    differing[#differing + 1] = known
  end
  pairs_to_write[#pairs_to_write + 1] = name
  pairs_to_write[#pairs_to_write + 1] = value
end
if #differing > 0 then
  redis.call('ZREM', K.parts, args.process)
  local others = redis.call('ZRANGE', K.parts, 0, 2)
  if #others > 0 then return { 'differs', differing, others } end
  if not args.replaces then return { 'left', differing } end
end
redis.call('HSET', KEYS[1], unpack(pairs_to_write))
redis.call('PEXPIRE', KEYS[1], args.kept_ms)
redis.call('ZADD', K.parts, now + args.lease_ms, args.process)
redis.call('PEXPIRE', K.parts, args.kept_ms)
return { 'agreed' }
