-- expire: ends one session that did not run by its deadline.
-- KEYS[1] the session's record.
-- ARGV session id, token of this call.
-- Returns {'expired', epoch, runner url, job name} | {'early'} | {'gone'}.
local sid, token = ARGV[1], ARGV[2]
local now = now_ms()
write_even_when_full()
local rec = read(sid)

-- Why no runner took it, as far as that can be seen: of a thousand runners one has the bot, or none.
local function lacking(bot)
  local alive = redis.call('ZRANGEBYSCORE', K.runners, now - T.lease_ms, '+inf', 'LIMIT', 0, 1000)
  for _, id in ipairs(alive) do
    if redis.call('HEXISTS', K.runner .. id, 'bot:' .. bot) == 1 then return '' end
  end
  return 'No warm runner has the bot "' .. bot .. '", and no operator started a cold one in time.'
end

if not rec or not (rec.state == 'queued' or rec.state == 'starting') then
  redis.call('ZREM', K.deadlines, sid)
  if rec and rec.ended_by == token then
    return { 'expired', tonumber(rec.epoch), rec.runner_url or '', rec.job_name or '' }
  end
  return { 'gone' }
end
if tonumber(rec.deadline_ms) > now then return { 'early' } end
local url, job = rec.runner_url or '', rec.job_name or ''
finish(rec, 'expired', 'deadline', rec.state == 'queued' and lacking(rec.bot) or '', token, now)
return { 'expired', tonumber(rec.epoch), url, job }
