package hosting

// A fleet serves the model data that was there when it was created, whatever
// becomes of the object: otherwise a replaced instance would answer differently
// from its neighbours, without a deployment.

// Versions says which version of model data was there at one moment.
type Versions map[ModelData]string

// at returns the container with its model data at the version that is known.
func (c Container) at(versions Versions) Container {
	if c.ModelData != nil {
		d := *c.ModelData
		d.Version = versions[d]
		c.ModelData = &d
	}
	return c
}

// replaces notes of each variant which version of the same data the fleet in
// service has, if that is another: it is all that a reader of the deployment's
// record would not see from the two configurations.
func (f *Fleet) replaces(old *Fleet) {
	for _, v := range f.all() {
		was := old.any(v.Name)
		if was == nil || v.Container.ModelData == nil || was.Container.ModelData == nil {
			continue
		}
		is, before := *v.Container.ModelData, *was.Container.ModelData
		if is.URI == before.URI && is.Layout == before.Layout && is.Version != before.Version {
			v.Replaced = before.Version
		}
	}
}

// PinModelData fixes the version of the data of one variant of a fleet, unless it
// is fixed already, and returns the one that counts. It is for fleets whose data
// could not be looked at when they were created.
func (e *Endpoint) PinModelData(f FleetID, variant, version string) string {
	for _, fleet := range e.fleets() {
		if fleet.ID != f {
			continue
		}
		v := fleet.any(variant)
		if v == nil || v.Container.ModelData == nil {
			continue
		}
		if v.Container.ModelData.Version == "" {
			v.Container.ModelData.Version = version
		}
		version = v.Container.ModelData.Version
	}
	return version
}

// PinDigest notes the digest of the data of one variant of a fleet, and reports
// whether it was not known before.
func (e *Endpoint) PinDigest(f FleetID, variant, digest string) (news bool) {
	if d := e.FleetData(f, variant); d != nil && d.Version != "" && d.Digest == "" && digest != "" {
		d.Digest, news = digest, true
	}
	return news
}

// FleetData returns the model data that a variant of a fleet serves; nil if it has
// none, or is not of this endpoint.
func (e *Endpoint) FleetData(f FleetID, variant string) *ModelData {
	for _, fleet := range e.fleets() {
		if v := fleet.any(variant); fleet.ID == f && v != nil {
			return v.Container.ModelData
		}
	}
	return nil
}

// ModelData returns the model data that the endpoint's fleets serve.
func (e *Endpoint) ModelData() (all []ModelData) {
	for _, f := range e.fleets() {
		for _, v := range f.all() {
			if v.Container.ModelData != nil {
				all = append(all, *v.Container.ModelData)
			}
		}
	}
	return all
}
