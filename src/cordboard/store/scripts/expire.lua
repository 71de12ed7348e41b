-- expire: ends one session that did not run by its deadline.
-- KEYS[1] the session's record.
-- ARGV session id, token of this call.
-- Returns {'expired', epoch, runner url, job name} | {'early'} | {'gone'}.
local sid, token = ARGV[1], ARGV[2]
local now = now_ms()
local rec = read(sid)
if not rec or not (rec.state == 'queued' or rec.state == 'starting') then
  redis.call('ZREM', K.deadlines, sid)
  if rec and rec.ended_by == token then
    return { 'expired', tonumber(rec.epoch), rec.runner_url or '', rec.job_name or '' }
  end
  return { 'gone' }
end
if tonumber(rec.deadline_ms) > now then return { 'early' } end
local url, job = rec.runner_url or '', rec.job_name or ''
finish(rec, 'expired', 'deadline', '', token, now)
return { 'expired', tonumber(rec.epoch), url, job }
