-- share: says in which shard a session id lives, and that one more join goes by its claim: it is not
-- given back any more. Claims the id for this shard where it is in none.
-- KEYS[1] the id's entry of the index.
-- ARGV number of the shard, token of this claim, ms to keep it.
-- Returns {shard, claim, epoch that the id's next one must exceed}: the caller's, or whose it is.
local shard, claim, kept_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found = redis.call('GET', KEYS[1])
if not found then
  redis.call('SET', KEYS[1], shard .. ' ' .. claim .. ' 0 shared', 'PX', kept_ms)
  return { tonumber(shard), claim, 0 }
end
local its_shard, its_claim, floor, mark = found:match('^(%d+) (%S+) (%d+)(.*)$')
if its_shard == shard then
  kept_ms = math.max(kept_ms, redis.call('PTTL', KEYS[1]))
  if mark == '' then
    redis.call('SET', KEYS[1], found .. ' shared', 'PX', kept_ms)
  else
    redis.call('PEXPIRE', KEYS[1], kept_ms)
  end
end
return { tonumber(its_shard), its_claim, tonumber(floor) }
