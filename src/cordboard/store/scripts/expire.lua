-- expire: end a session that did not run by its deadline.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id
--   token        random, the same each time that this call is sent
--
-- A session that has run, and that no runner took after its bot was lost, ends as `runner_lost`: it had met its
-- deadline.
--
-- Returns {'expired', epoch, runner url, job name} | {'early'} | {'gone'}.
local sid = args.session_id
local now = now_ms()
write_even_when_full()
local rec = read(sid)

-- Return why no runner took the session, or nil if that cannot be seen. 1000 runners bound the time of
-- the script.
local function missing_bot(bot)
  local alive = redis.call('ZRANGEBYSCORE', K.runners, now - T.lease_ms, '+inf', 'LIMIT', 0, 1000)
  for _, id in ipairs(alive) do
    if redis.call('HEXISTS', K.runner .. id, 'bot:' .. bot) == 1 then return nil end
  end
  return 'No warm runner has the bot "' .. bot .. '", and no operator started a cold one in time.'
end

if not rec or not (rec.state == 'queued' or rec.state == 'starting') then
  redis.call('ZREM', K.deadlines, sid)
  if rec and rec.ended_by == args.token then
    return { 'expired', tonumber(rec.epoch), rec.runner_url or '', rec.job_name or '' }
  end
  return { 'gone' }
end
if tonumber(rec.deadline_ms) > now then return { 'early' } end
local runner_url, job_name = rec.runner_url or '', rec.job_name or ''
if rec.at_running then
  local why = rec.recovery == 'draining' and 'the runner was stopped' or 'the bot was lost'
  finish(rec, 'failed', 'runner_lost', why .. ', and no runner took the session in time', args.token, now)
else
  local detail = rec.state == 'queued' and missing_bot(rec.bot) or nil
  finish(rec, 'expired', 'deadline', detail, args.token, now)
end
return { 'expired', tonumber(rec.epoch), runner_url, job_name }
