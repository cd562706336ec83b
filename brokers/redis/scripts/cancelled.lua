-- Returns the wishes that leased tasks end: id, wish, id, wish.
local out = {}
if wishes == 0 then return out end
local all = redis.call('HGETALL', control)
for i = 1, #all, 2 do
  local id = string.match(all[i], '^cancel (.+)$')
  if id then out[#out + 1] = id out[#out + 1] = all[i + 1] end
end
return out
