-- Notes a delivery that led to nothing, and why.
--
-- args: guid event repository ref rule
-- Answers {noted}.

note(args, args.event, 'ignored', args.rule, '')
return {'noted'}
