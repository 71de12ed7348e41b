-- recover: take a session from a runner that died, refused it or hands it over, and queue it again with
-- a higher epoch. From here on the old runner can neither run nor renew nor finish the session.
--
-- KEYS[1]  the session record
-- ARGV[1]  MessagePack map:
--   session_id, epoch
--   cause            'died': the runner is lost. The lease must have run out, except for a cold start
--                    whose runner never came. Counts as an attempt.
--                    'confirmed': an operator has confirmed the death of the runner, and has waited until
--                    its bots must be gone. The lease need not have run out. Counts as an attempt.
--                    'bot_died': the holder reports that the bot process was killed, and that nothing is
--                    left of it. Counts as an attempt.
--                    'draining': the holder stops, and the bot is gone. Does not count as an attempt.
--                    'unstarted': the hand-over was lost. The lease must have run out, and the session
--                    must never have run.
--                    'refused': the runner refused or did not answer. The session must never have run.
--   runner_id        the runner that must hold the session; absent: any
--   reason, detail   of the end, if this was the last attempt; absent: 'runner_lost', or 'launch_failed'
--                    if the session never ran
--   sign             how its end is known, as text; absent if nothing but the cause is
--   seen_ms          milliseconds since the first sign of it; absent if there was none before
--   recoveries_max   maximum number of recoveries
--   refusals_max     maximum number of refusals
--   token            random, the same each time that this call is sent
--
-- Returns {'queued', new epoch, attempt} | {'failed', reason} | {'held'} | {'gone'}.
--
-- The record keeps the last TAKE_OVERS_MAX take-overs for its readers. A session has two recoveries at most, but
-- may be handed over by any number of runners that stop.
local TAKE_OVERS_MAX = 8
local sid, cause = args.session_id, args.cause
local now = now_ms()
write_even_when_full()
local rec = read(sid)
if rec and rec.recovered_by == args.token then
  return { 'queued', tonumber(rec.epoch), tonumber(rec.attempt) }
end
if not rec or tonumber(rec.epoch) ~= args.epoch then return { 'gone' } end
if not (rec.state == 'starting' or rec.state == 'running') then return { 'gone' } end
if args.runner_id and rec.runner_id ~= args.runner_id then return { 'gone' } end
-- The start succeeded and only its answer was lost: the bot runs and stays.
local is_hand_over_lost = cause == 'unstarted' or cause == 'refused'
if is_hand_over_lost and rec.state == 'running' then return { 'held' } end
local lease = redis.call('ZSCORE', K.leases, sid)
-- A cold start that no runner has claimed: no bot can have entered.
local is_unclaimed = rec.state == 'starting' and not rec.runner_id
if cause == 'unstarted' or (cause == 'died' and not is_unclaimed) then
  if lease and tonumber(lease) > now then return { 'held' } end
end

if rec.stop then
  finish(rec, 'ended', rec.stop, nil, args.token, now)
  return { 'failed', rec.reason }
end
local attempt, refusals = tonumber(rec.attempt), tonumber(rec.refusals or '0')
if is_hand_over_lost then
  refusals = refusals + 1
elseif cause ~= 'draining' then
  attempt = attempt + 1
end
if attempt > args.recoveries_max + 1 or refusals > args.refusals_max then
  local reason = args.reason or (rec.at_running and 'runner_lost' or 'launch_failed')
  finish(rec, 'failed', reason, args.detail, args.token, now)
  return { 'failed', rec.reason }
end
free_slot(rec)
drop_lease(rec)
drop_queue_entry(rec)
-- A session that has run gets the full time to start again; one that never ran keeps its deadline.
local deadline_ms = tonumber(rec.deadline_ms)
if rec.state == 'running' then deadline_ms = now + tonumber(rec.deadline_s) * 1000 end
local fields = { state = 'queued', epoch = raise_epoch(rec.room_url, tonumber(rec.epoch)),
  attempt = attempt, refusals = refusals, at_queued = now, deadline_ms = deadline_ms,
  recovered_by = args.token, runner_id = false, runner_url = false, job_name = false, pid = false,
  type = false, assigned_by = false }
enqueue(sid, fields, rec.launch)
if not is_hand_over_lost then
  local taken = cjson.decode(rec.take_overs or '[]')
  taken[#taken + 1] =
    { epoch = fields.epoch, attempt = attempt, cause = cause, runner = rec.runner_id, at_ms = now,
      sign = args.sign, seen_ms = args.seen_ms }
  if #taken > TAKE_OVERS_MAX then table.remove(taken, 1) end
  fields.recovery, fields.at_recovered, fields.take_overs = cause, now, cjson.encode(taken)
end
set(rec, fields)
redis.call('ZADD', K.deadlines, deadline_ms, sid)
write_room(rec, now)
publish(rec, now)
return { 'queued', tonumber(rec.epoch), attempt }
