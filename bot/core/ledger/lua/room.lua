-- Whether this Redis takes more: fails as every verb does that records something. Writes nothing.
--
-- Answers {room}.

redis.call('SETRANGE', key('nothing'), 0, '')
return {'room'}
