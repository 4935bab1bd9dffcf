package store

// hotWrites and hotReads are the statements that devices cause by the thousand
// in a second.
func hotWrites() []string {
	return []string{
		saveRow, countRows, touchPlan, checkinDevice, saveCheckin, saveHeartbeat, rowOf, ordered, putHandle, insertDevice,
	}
}

func hotReads() []string { return []string{pollDevice, pollOrders} }
