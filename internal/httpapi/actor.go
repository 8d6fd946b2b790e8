package httpapi

import (
	"net/http"

	"promopool/internal/domain"
)

// actorHeader is where a client says who acts. Nothing verifies it.
const actorHeader = "Promopool-Actor"

// actorOf is who makes the change that a request asks for.
func actorOf(r *http.Request) (domain.Actor, error) {
	switch said := r.Header.Values(actorHeader); len(said) {
	case 0:
		return domain.Anonymous, nil
	case 1:
		if who, err := domain.ParseActor(said[0]); err == nil {
			return who, nil
		}
	}
	return "", wrongParameter(actorHeader, domain.ErrActor.Error()+", in UTF-8 and once, or be absent")
}

// changeOf is the id in the path of what a request changes, and who asks for it.
func changeOf(r *http.Request) (id string, who domain.Actor, err error) {
	if id, err = pathID(r); err == nil {
		who, err = actorOf(r)
	}
	return id, who, err
}
