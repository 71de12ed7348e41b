-- tidy: remove ended sessions whose records have been kept long enough, all that refers to them, and
-- dead letters of the same age.
--
-- KEYS[1]  the ended sessions
-- ARGV[1]  MessagePack map:
--   limit    maximum number of sessions to remove
--
-- Returns the number of sessions removed.
write_even_when_full()
local before = now_ms() - T.record_kept_ms
-- MINID takes no exponent, which the default conversion of a number may produce.
redis.call('XTRIM', K.dead_letters, 'MINID', string.format('%.0f', before))
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'LIMIT', 0, args.limit)
for _, sid in ipairs(due) do
  local rec = read(sid)
  if not rec then -- the record has expired while no operator ran
    redis.call('ZREM', K.sessions, sid)
    redis.call('ZREM', KEYS[1], sid)
  elseif LIVE[rec.state] then
    redis.call('ZREM', KEYS[1], sid)
  else
    remove(rec)
  end
end
return #due
