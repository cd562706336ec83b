-- Lists members of a set by score. ARGV: channel, 'ready', 'scheduled' or 'dead', most
-- members, score and member that the page before ended with ('' and '' for the first page).
-- Returns for each: member, score, '1' or, of a foreign message, '0'.
local which, limit, score, member = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local set = which == 'dead' and dead or waiting
if set == waiting then reap() end
local start = 0
if score ~= '' then
  if redis.call('ZSCORE', set, member) == score then
    start = redis.call('ZRANK', set, member) + 1
  else -- it has gone: look for its place among those of its score
    start = redis.call('ZCOUNT', set, '-inf', '(' .. score)
    local stop = start + redis.call('ZCOUNT', set, score, score)
    while start < stop do
      local middle = math.floor((start + stop) / 2)
      if redis.call('ZRANGE', set, middle, middle)[1] <= member then start = middle + 1 else stop = middle end
    end
  end
end
local due = set == waiting and redis.call('ZCOUNT', waiting, '-inf', now)
if which == 'scheduled' then start = math.max(start, due) end
if which == 'ready' then limit = math.min(limit, due - start) end
if limit < 1 then return {} end
local page = redis.call('ZRANGE', set, start, start + limit - 1, 'WITHSCORES')
local out = {}
for i = 1, #page, 2 do
  out[#out + 1] = page[i]
  out[#out + 1] = page[i + 1]
  out[#out + 1] = tostring(redis.call('HEXISTS', tasks, page[i]))
end
return out
