-- Notes a delivery that led to nothing, and why.
--
-- args: guid event repository repository_id ref before after reason size form
-- Answers {noted}.

note(args, args.event, 'ignored', args.reason, '')
return {'noted'}
