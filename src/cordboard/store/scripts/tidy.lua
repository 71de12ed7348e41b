-- tidy: removes sessions that ended so long ago that their records are kept no more, and all that
-- names them; and what has been in the dead letters for as long.
-- KEYS[1] the sessions that have ended.
-- ARGV how many to remove at most.
-- Returns how many were removed.
write_even_when_full()
local before = now_ms() - T.record_kept_ms
redis.call('XTRIM', K.dead_letters, 'MINID', string.format('%.0f', before))
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'LIMIT', 0, ARGV[1])
for _, sid in ipairs(due) do
  local rec = read(sid)
  if not rec then -- its record has expired, as no operator ran
    redis.call('ZREM', K.sessions, sid)
    redis.call('ZREM', KEYS[1], sid)
  elseif LIVE[rec.state] then
    redis.call('ZREM', KEYS[1], sid)
  else
    remove(rec)
  end
end
return #due
