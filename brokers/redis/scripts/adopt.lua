-- Makes tasks of foreign messages: the message becomes the task's, its id the member.
-- ARGV: channel, then for each: message, id. Returns the numbers (from 1) of the messages
-- that were dropped because their id is in the queue already.
local dropped = {}
for i = 2, #ARGV, 2 do
  local message, id = ARGV[i], ARGV[i + 1]
  local due = redis.call('ZSCORE', waiting, message)
  if due and redis.call('HEXISTS', tasks, message) == 0 then
    redis.call('ZREM', waiting, message)
    if redis.call('HSETNX', tasks, id, value(due, message)) == 1 then
      redis.call('ZADD', waiting, due, id)
    else
      dropped[#dropped + 1] = i / 2
    end
  end
end
return dropped
