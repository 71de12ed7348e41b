-- share: return the claim of a session id, and mark it as shared by one more join, so that it is not
-- released. Claim the id for the given shard if nobody has claimed it.
--
-- KEYS[1]  the entry of the session id in the index
-- ARGV[1]  MessagePack map:
--   shard     number of the shard
--   claim     the claim to write if the id has none
--   kept_ms   time for which the entry is kept
--
-- Returns {shard, claim, epoch that the next epoch of the id must exceed}.
local entry = redis.call('GET', KEYS[1])
if not entry then
  redis.call('SET', KEYS[1], args.shard .. ' ' .. args.claim .. ' 0 shared', 'PX', args.kept_ms)
  return { args.shard, args.claim, 0 }
end
local shard, claim, epoch_above, mark = entry:match('^(%d+) (%S+) (%d+)(.*)$')
if tonumber(shard) == args.shard then
  local kept_ms = math.max(args.kept_ms, redis.call('PTTL', KEYS[1]))
  if mark == '' then
    redis.call('SET', KEYS[1], entry .. ' shared', 'PX', kept_ms)
  else
    redis.call('PEXPIRE', KEYS[1], kept_ms)
  end
end
return { tonumber(shard), claim, tonumber(epoch_above) }
