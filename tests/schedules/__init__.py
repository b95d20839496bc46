"""Random schedules of the ledger's verbs, and the model beside which they are tried."""
